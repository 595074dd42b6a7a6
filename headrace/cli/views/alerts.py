"""How alerts, silences and definitions look to people."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from headrace.alerts.definitions import Definition
from headrace.cli.views.formats import clock

STYLES = {"CRITICAL": "bold red", "WARNING": "yellow", "INFO": "cyan"}


def alert_table(alerts: Iterable[Mapping[str, Any]], now_us: int) -> Table:
    """Alerts, the newest last."""
    table = _table("severity", "alert", "since", "", "what")
    for alert in alerts:
        marks = [] if alert["firing"] else ["ended"]
        marks += [f"silenced for {_left(alert['silenced_until_us'], now_us)}"] if alert["silenced"] else []
        severity = Text(alert["severity"].lower(), STYLES.get(alert["severity"], ""))
        since = f"{_age(alert['since_us'], now_us)} ago"
        table.add_row(severity, alert["id"], since, Text(", ".join(marks), "dim"), Text(alert["message"]))
    return table


def silence_table(silences: Iterable[Mapping[str, Any]], now_us: int) -> Table:
    """Silences, the one that ends first at the top."""
    table = _table("silence", "alerts", "for", "by", "why")
    for one in silences:
        table.add_row(one["id"], one["match"], _left(one["until_us"], now_us), one["by"], Text(one["reason"]))
    return table


def rule_table(definitions: Iterable[Definition]) -> Table:
    """What there is to be alerted of."""
    table = _table("alert", "severity", "by", "meaning")
    for one in definitions:
        severity = Text(one.severity.lower(), STYLES[one.severity])
        table.add_row(one.name, severity, one.source, one.summary)
    return table


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(head)
    return table


def _age(since_us: int, now_us: int) -> str:
    return clock(max(0.0, (now_us - since_us) / 1e6))


def _left(until_us: int, now_us: int) -> str:
    return clock(max(0.0, (until_us - now_us) / 1e6))
