"""Grafana's dashboard, from the definitions: the alerts that are on, and the figures that they are about."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headrace.alerts.definitions import Definition
from headrace.alerts.prometheus import RECORDINGS

_WIDE, _HIGH, _COLUMNS = 12, 8, 24


@dataclass(frozen=True)
class Panel:
    """A graph of one expression; `legend` names each of its series."""

    title: str
    expression: str
    legend: str
    unit: str = "short"


_SELECTED = '{pipeline="$pipeline"}'
PANELS = (
    *(
        Panel(one.title, one.record + _SELECTED, "{{column}}" if "column" in one.record else "{{pipeline}}", one.unit)
        for one in RECORDINGS
    ),
    Panel("Error over the last window", f"headrace_monitor_error_window{_SELECTED}", "{{predictor}}"),
    Panel("Error of the last 500 labelled predictions, and the usual one", f"headrace_drift_error{_SELECTED}",
          "{{model}} {{which}}"),
    Panel("PSI of the short window", 'headrace_drift_distance{pipeline="$pipeline", statistic="psi", window="short"}',
          "{{model}} {{column}}"),
    Panel("Missing, out-of-range and unseen values", f"headrace_drift_share{_SELECTED}", "{{column}} {{what}}",
          "percentunit"),
    Panel("Records that roles have still to read", f"headrace_monitor_lag_records{_SELECTED}", "{{role}}"),
    Panel("Serving processes by state", f"headrace_monitor_workers{_SELECTED}", "{{state}}"),
    Panel("Versions", f"headrace_monitor_version{_SELECTED}", "{{which}}"),
)  # fmt: skip


def dashboard(definitions: Iterable[Definition], title: str = "Headrace") -> dict[str, Any]:
    """The dashboard's JSON, to be imported as it is; it asks for the Prometheus data source."""
    panels = [_alerts_on(), *(_graph(i, panel) for i, panel in enumerate(PANELS, start=1))]
    panels.append(_text(len(panels), definitions))
    for i, panel in enumerate(panels):
        panel["id"] = i + 1
    return {
        "title": title, "uid": "headrace", "schemaVersion": 39, "version": 1, "editable": True, "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"}, "timezone": "browser", "tags": ["headrace"],
        "templating": {"list": [_data_source(), _pipelines()]}, "panels": panels,
    }  # fmt: skip


def _alerts_on() -> dict[str, Any]:
    return {
        "type": "table", "title": "Alerts that are on", "datasource": _SOURCE,
        "gridPos": {"x": 0, "y": 0, "w": _COLUMNS, "h": _HIGH},
        "targets": [_target('headrace_drift_alerts_firing{pipeline="$pipeline"} > 0', "", table=True)],
        "transformations": [{"id": "organize", "options": {"excludeByName": dict.fromkeys(_HIDDEN, True)}}],
    }  # fmt: skip


_HIDDEN = ("Time", "Value", "__name__", "instance", "job", "pipeline")
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _graph(place: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(place - 1, _COLUMNS // _WIDE)
    return {
        "type": "timeseries", "title": panel.title, "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDE, "y": _HIGH * (row + 1), "w": _WIDE, "h": _HIGH},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [_target(panel.expression, panel.legend)],
    }  # fmt: skip


def _target(expression: str, legend: str, *, table: bool = False) -> dict[str, Any]:
    found = {"refId": "A", "expr": expression, "legendFormat": legend, "datasource": _SOURCE}
    return {**found, "format": "table", "instant": True} if table else found


def _text(place: int, definitions: Iterable[Definition]) -> dict[str, Any]:
    rows = [f"| {d.name} | {d.severity.lower()} | {d.summary} | {d.to_do} |" for d in definitions]
    content = "\n".join(["| alert | severity | meaning | what to do |", "| --- | --- | --- | --- |", *rows])
    y = _HIGH * (1 + (place + 1) // (_COLUMNS // _WIDE))
    return {
        "type": "text", "title": "Alerts", "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 2 * _HIGH},
        "options": {"mode": "markdown", "content": content},
    }  # fmt: skip


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _pipelines() -> dict[str, Any]:
    query = "label_values(headrace_monitor_records_total, pipeline)"
    return {
        "name": "pipeline", "label": "Pipeline", "type": "query", "datasource": _SOURCE, "refresh": 2,
        "query": {"query": query, "refId": "pipelines"}, "definition": query,
    }  # fmt: skip
