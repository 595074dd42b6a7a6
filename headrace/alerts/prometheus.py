"""Prometheus' rules file, from the definitions.

It has a recording rule for each figure that is asked for often, and an alert rule for each alert that is not off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from headrace.alerts.definitions import Definition


@dataclass(frozen=True)
class Recording:
    """A figure that Prometheus works out for itself, by the name `record`."""

    record: str
    expression: str
    title: str
    unit: str = "short"


RECORDINGS = (
    Recording(
        "pipeline:headrace_events:rate1m",
        'sum by (pipeline) (rate(headrace_monitor_records_total{kind="events"}[1m]))',
        "Events a second", "ops",
    ),
    Recording(
        "pipeline:headrace_predictions:rate1m",
        'sum by (pipeline) (rate(headrace_monitor_records_total{kind="predictions"}[1m]))',
        "Predictions a second", "ops",
    ),
    Recording(
        "pipeline:headrace_latency_seconds:p99_5m",
        "histogram_quantile(0.99, sum by (pipeline, le) (rate(headrace_monitor_latency_seconds_bucket[5m])))",
        "Event to prediction, p99", "s",
    ),
    Recording(
        "pipeline:headrace_error:ratio",
        'max by (pipeline) (headrace_monitor_error_window{predictor="model"}) / on (pipeline) '
        'min by (pipeline) (headrace_monitor_error_window{predictor!="model"})',
        "The model's error / the best baseline's",
    ),
    Recording(
        "pipeline_column:headrace_drift:of_limit",
        "max by (pipeline, model, column) (headrace_drift_distance / on (pipeline, model, column, statistic, window) "
        "headrace_drift_limit)",
        "Distance from the reference / limit: 1 is drift",
    ),
)  # fmt: skip


def rules_file(definitions: Iterable[Definition], pipeline: str = "") -> str:
    """The file, as `promtool check rules` takes it. `pipeline`: only its series."""
    recordings = [{"record": one.record, "expr": one.expression} for one in RECORDINGS]
    document = {
        "groups": [
            {"name": "headrace_recordings", "interval": "15s", "rules": recordings},
            {"name": "headrace_alerts", "rules": [_alert(one, pipeline) for one in definitions]},
        ]
    }
    return _HEAD + yaml.safe_dump(document, sort_keys=False, width=118, allow_unicode=True)


_HEAD = "# Written by `headrace alerts prometheus`; change the definitions or pipeline.yaml, and write it again.\n"


def _alert(definition: Definition, pipeline: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": _camel(definition.name), "expr": _of_pipeline(definition.expression, pipeline)}
    if definition.for_s:
        rule["for"] = f"{definition.for_s}s"
    rule["labels"] = {"severity": definition.severity.lower(), "headrace_alert": definition.name}
    about = " {{ $labels.subject }}" if definition.subject and definition.source == "drift" else ""
    rule["annotations"] = {
        "summary": f"{{{{ $labels.pipeline }}}}{about}: {definition.summary}",
        "description": f"{definition.meaning} {definition.to_do}",
    }
    return rule


def _of_pipeline(expression: str, pipeline: str) -> str:
    """Only of one pipeline, where the series have that label; `headrace_ready` is a process's and has none."""
    if not pipeline or "pipeline" not in expression:
        return expression
    return f'({expression}) and on (pipeline) headrace_drift_info{{pipeline="{pipeline}"}}'


def _camel(name: str) -> str:
    return "Headrace" + "".join(part.capitalize() for part in name.split("_"))
