"""Prometheus' rules and Grafana's dashboard: of the definitions, accepted by promtool, about metrics that exist."""

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from headrace.alerts.definitions import DEFINITIONS
from headrace.alerts.grafana import dashboard
from headrace.alerts.policy import Policy
from headrace.alerts.prometheus import RECORDINGS, rules_file

METRIC = re.compile(r"\bheadrace_[a-z0-9_]+")
LABELS = {"headrace_alert"}
PROMTOOL = shutil.which("promtool")


def expressions() -> list[str]:
    panels = [target["expr"] for panel in dashboard(DEFINITIONS)["panels"] for target in panel.get("targets", ())]
    return [one.expression for one in (*DEFINITIONS, *RECORDINGS)] + panels


def existing() -> set[str]:
    """Every series of the services that the expressions are about."""
    for service in ("drift", "monitor"):
        importlib.import_module(f"services.{service}.metrics")
    importlib.import_module("services.inference.stream.metrics")
    importlib.import_module("headrace.runtime.metrics")
    return {name for names in REGISTRY._collector_to_names.values() for name in names}


def test_every_metric_that_is_named_exists() -> None:
    recorded = {one.record.partition(":")[2].partition(":")[0] for one in RECORDINGS}
    named = {name for text in expressions() for name in METRIC.findall(text)} - recorded
    assert len(named) > 10
    assert named - existing() == set()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: it comes with Prometheus")
@pytest.mark.parametrize("pipeline", ["", "rides"])
def test_promtool_accepts_the_rules(tmp_path: Path, pipeline: str) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(rules_file(DEFINITIONS, pipeline))
    checked = subprocess.run([str(PROMTOOL), "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(DEFINITIONS) + len(RECORDINGS)} rules found" in checked.stdout


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: it comes with Prometheus")
def test_an_alert_fires_in_prometheus_when_its_series_does(tmp_path: Path) -> None:
    """By promtool's own engine: the series of the drift role in, the alert out."""
    (tmp_path / "rules.yml").write_text(rules_file(DEFINITIONS))
    series = (
        'headrace_drift_alerts_firing{pipeline="rides", model="rides", name="feature_drift", subject="zone", '
        'severity="WARNING", source="drift", silenced="%s"}'
    )
    definition = next(d for d in DEFINITIONS if d.name == "feature_drift")
    labels = {
        "severity": "warning", "headrace_alert": "feature_drift", "pipeline": "rides", "model": "rides",
        "subject": "zone",
    }  # fmt: skip
    annotations = {
        "summary": f"rides zone: {definition.summary}", "description": f"{definition.meaning} {definition.to_do}",
    }  # fmt: skip

    def case(silenced: str, alerts: list[object]) -> dict[str, object]:
        return {
            "interval": "15s", "input_series": [{"series": series % silenced, "values": "1x20"}],
            "alert_rule_test": [{"eval_time": "2m", "alertname": "HeadraceFeatureDrift", "exp_alerts": alerts}],
        }  # fmt: skip

    tests = [case("no", [{"exp_labels": labels, "exp_annotations": annotations}]), case("yes", [])]
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests}))
    command = [str(PROMTOOL), "test", "rules", str(tmp_path / "test.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_rules_leave_out_what_a_pipeline_switches_off() -> None:
    policy = Policy({"feature_drift": "CRITICAL"}, frozenset({"error_drift"}))
    rules = yaml.safe_load(rules_file(policy.definitions()))["groups"][1]["rules"]
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in rules}
    assert "HeadraceErrorDrift" not in severities
    assert severities["HeadraceFeatureDrift"] == "critical"


def test_the_dashboard_is_json_whose_panels_do_not_overlap() -> None:
    made = json.loads(json.dumps(dashboard(DEFINITIONS)))
    taken: set[tuple[int, int]] = set()
    for panel in made["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
