"""Alerts: one list of definitions, raised once, silenced, told."""

from pathlib import Path

import pytest

from headrace.alerts import definitions
from headrace.alerts.policy import Policy, at_least
from headrace.alerts.raising import Finding, Raising
from headrace.alerts.state import AlertStates, Silences, as_plain
from headrace.contracts.events_pb2 import Alert, Silence
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import PipelineError

DOCS = Path(__file__).parents[3] / "docs" / "alerts.md"
FINDING = Finding("rides", "feature_drift", firing=True, message="zone: PSI", subject="zone", value=0.3, threshold=0.2)


def ended(finding: Finding) -> Finding:
    return Finding(finding.model, finding.name, firing=False, message="", subject=finding.subject)


def test_an_alert_is_raised_once_and_ended_once() -> None:
    raising = Raising("drift", Policy())
    first = raising.take(FINDING, 5)
    assert first is not None
    assert (first.id, first.severity, first.source, first.since_us) == (
        "rides/feature_drift/zone",
        Alert.WARNING,
        "drift",
        5,
    )
    assert raising.take(FINDING, 6) is None
    other = Raising("drift", Policy())
    other.restore(raising.state())
    last = other.take(ended(FINDING), 9)
    assert last is not None
    assert (last.firing, last.since_us, last.at_us) == (False, 5, 9)
    assert other.take(ended(FINDING), 10) is None


def test_a_policy_changes_severities_and_switches_off_but_never_leaves_an_alert_on() -> None:
    policy = Policy({"feature_drift": "INFO"}, frozenset({"error_drift"}))
    raising = Raising("drift", policy)
    alert = raising.take(FINDING, 1)
    assert alert is not None
    assert alert.severity == Alert.INFO
    assert raising.take(Finding("rides", "error_drift", firing=True, message=""), 1) is None
    off = Raising("drift", Policy(off=frozenset({"feature_drift"})))
    off.restore([alert.SerializeToString()])
    assert off.take(ended(FINDING), 2) is not None
    assert "error_drift" not in {d.name for d in policy.definitions()}
    assert {d.severity for d in policy.definitions() if d.name == "feature_drift"} == {"INFO"}
    assert at_least("CRITICAL", "WARNING")
    assert not at_least("INFO", "WARNING")


def test_states_are_the_newest_records_of_our_models() -> None:
    states = AlertStates(["rides"])
    old = Alert(id="rides/worker_failed/w1", model="rides", name="worker_failed", firing=True, at_us=3)
    states.apply(old)
    states.apply(Alert(id="flights/worker_failed/w1", model="flights", name="worker_failed", firing=True, at_us=3))
    assert [as_plain(a)["subject"] for a in states.alerts()] == ["w1"]  # of a record that does not say it
    states.apply(Alert(id="rides/worker_failed/w1", model="rides", name="worker_failed", firing=False, at_us=8))
    assert states.alerts() == []
    (known,) = states.alerts(on=False, name="worker_failed")
    assert (known.since_us, known.at_us) == (3, 8)


def test_a_silence_holds_for_what_it_matches_until_its_end() -> None:
    silences = Silences()
    silences.apply(Silence(id="s-1", match="rides/feature_drift/*", until_us=100))
    assert silences.until("rides/feature_drift/zone", 99) == 100
    assert silences.until("rides/feature_drift/zone", 100) == 0
    assert silences.until("rides/error_drift", 50) == 0
    silences.forget("s-1")
    assert silences.active(50) == []


def test_every_definition_says_what_it_means_and_what_to_do_and_the_page_has_it() -> None:
    page = DOCS.read_text()
    assert len(set(definitions.NAMES)) == len(definitions.NAMES)
    for one in definitions.DEFINITIONS:
        assert one.summary.endswith(".")
        assert one.meaning.endswith(".")
        assert one.to_do.endswith(".")
        section = page.partition(f"## {one.name}\n")[2].partition("\n## ")[0]
        flat = " ".join(section.split())
        for said in (one.summary, one.meaning, one.to_do, one.severity.lower()):
            assert said in flat, f"docs/alerts.md, {one.name}: {said}"


def pipeline(folder: Path, more: str) -> Path:
    (folder / "pipeline.yaml").write_text(f"name: toy\nmodel: model.py:Toy\n{more}\n")
    return folder


def test_pipeline_yaml_sets_severities_and_webhooks(tmp_path: Path) -> None:
    text = "alerts: {rules: {feature_drift: {severity: critical}, missing_values: {enabled: false}}}"
    policy = load_spec(pipeline(tmp_path, text)).alerts.policy
    assert policy.severity("feature_drift") == "CRITICAL"
    assert not policy.enabled("missing_values")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alerts: {rules: {feature_drifts: {}}}", "alerts.rules: no alert feature_drifts"),
        ("alerts: {webhooks: [{name: a}]}", "either `url` or `url_env`"),
        ("alerts: {webhooks: [{name: a, url: 'ftp://x'}]}", "begins with http:// or https://"),
        ("alerts: {webhooks: [{name: a, url: 'http://x'}, {name: a, url: 'http://y'}]}", "the same name"),
        ("drift: {windows: [700, 1000]}", "multiples of 500"),
        ("drift: {refrence: {}}", "drift.refrence"),
    ],
)
def test_what_is_wrong_in_pipeline_yaml_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said.replace("(", r"\(")):
        load_spec(pipeline(tmp_path, text))
