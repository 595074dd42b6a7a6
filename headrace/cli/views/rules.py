"""How rules and their runs look to people."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from headrace.cli.views.formats import duration
from headrace.contracts.plain_values import time_of
from headrace.rules import describe
from headrace.rules.past import Past
from headrace.rules.spec import RuleSpec

_STYLES = {
    "done": "green", "failed": "bold red", "cancelled": "yellow", "waiting": "bold yellow", "approval": "bold yellow",
    "running": "cyan", "skipped": "dim", "pending": "dim", "admitted": "green", "idle": "dim",
}  # fmt: skip


def state(word: str) -> Text:
    """A state in its colour."""
    return Text(word, _STYLES.get(word, ""))


def rules_table(rules: Iterable[Mapping[str, Any]]) -> Table:
    """All rules, a row each."""
    table = _table("rule", "state", "when", "last run", "next", "dropped triggers")
    for rule in rules:
        dropped = ", ".join(f"{count} {reason}" for reason, count in rule["suppressed"].items()) or "-"
        last, following = _ago(rule["last_us"]), _at(rule["next_us"])
        table.add_row(rule["name"], state(rule["state"]), "; ".join(rule["when"]), last, following, dropped)
    return table


def runs_table(runs: Iterable[Mapping[str, Any]]) -> Table:
    """Runs, a row each."""
    table = _table("run", "rule", "state", "began", "step", "trigger", "")
    for run in runs:
        open_step = next((s for s in run["steps"] if s["state"] in ("running", "approval")), None)
        at = f"{open_step['number']} {open_step['kind']}" if open_step is not None else "-"
        what, reason = Text(run["trigger"]["what"]), Text(run["reason"])
        table.add_row(run["id"], run["rule"], state(run["state"]), _at(run["started_us"]), at, what, reason)
    return table


def run_lines(run: Mapping[str, Any]) -> Iterable[Text]:
    """One run, a line for it and one for each step."""
    yield Text.assemble((run["id"], "bold"), f" of {run['rule']}: ", state(run["state"]), f"  {run['reason']}")
    yield Text(f"  because of {run['trigger']['what']}, {_at(run['started_us'])}")
    for step in run["steps"]:
        yield step_line(step)


def step_line(step: Mapping[str, Any]) -> Text:
    """One step."""
    name = f" {step['name']}" if step["name"] else ""
    part = "" if step["part"] == "steps" else f" ({step['part']})"
    line = Text.assemble(f"  {step['number']:>2} ", (f"{step['kind']}{name}{part}", "bold"), " ", state(step["state"]))
    if step["started_us"]:
        line.append(f" {duration(((step['ended_us'] or time.time_ns() // 1000) - step['started_us']) / 1e6)}", "dim")
    if (approval := step["approval"]) is not None:
        why = f": {approval['comment']}" if approval["comment"] else ""
        line.append(f"  {approval['verdict']} by {approval['by']} at {_at(approval['at_us'])}{why}")
    shown = step["progress"] or step["result"]
    plain = ", ".join(f"{k} {_short(v)}" for k, v in shown.items() if not isinstance(v, dict | list) and v != "")
    return line.append(f"  {step['error'] or plain}")


def rule_lines(rule: RuleSpec) -> Iterable[Text]:
    """A rule as pipeline.yaml has it."""
    yield Text.assemble((rule.name, "bold"), f"  {rule.description}")
    yield Text(f"  when     {'; '.join(map(describe.condition, rule.when))}")
    for i, step in enumerate(rule.steps, 1):
        yield Text(f"  {i:>2}       {describe.step(step)}")
    told = ", ".join(one.kind for one in rule.then) or "nobody"
    yield Text(f"  then     tell {told}; on failure: {rule.on_failure}")


def past_table(found: Iterable[Past]) -> Table:
    """Past triggers, a row each."""
    table = _table("time", "verdict", "trigger")
    for one in found:
        table.add_row(_at(one.trigger.at_us), state(one.verdict), Text(one.trigger.what))
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:100]


def _at(at_us: int | None) -> str:
    return time_of(at_us / 1e6)[:19].replace("T", " ") + "Z" if at_us else "-"


def _ago(at_us: int | None) -> str:
    return f"{duration(max(0.0, time.time() - at_us / 1e6))} ago" if at_us else "never"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column in ("run", "rule", "state", "time", "verdict"))
    return table
