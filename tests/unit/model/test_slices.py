"""Slices of events, as pipeline.yaml writes them out and alerts name them; and what `labelling` may not say."""

from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from headrace.model.labelling_spec import default_queues
from headrace.model.pipeline import load_pipeline
from headrace.model.slices import event_fields, parse_slice, slice_of_alert
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import PipelineError
from tests.line_kit import write_toy


class Trip(msgspec.Struct):
    zone: int
    kind: Literal["city", "country"]
    at: float = msgspec.field(name="requestedAt")
    raining: bool = False


FIELDS = event_fields(Trip)


@pytest.mark.parametrize(
    ("written", "event", "taken"),
    [
        ({"zone": 7}, {"zone": 7}, True),
        ({"zone": 7}, {"zone": 8}, False),
        ({"zone": 7}, {}, False),
        ({"zone": [7, 8]}, {"zone": 8}, True),
        ({"zone": 1}, {"zone": True}, False),
        ({"raining": True}, {"raining": True}, True),
        ({"at": {"from": 7, "to": 9}}, {"at": 7}, True),
        ({"at": {"from": 7, "to": 9}}, {"at": 9}, False),
        ({"at": {"to": 9}}, {"at": -5.5}, True),
        ({"at": {"to": 9}}, {"at": "3"}, False),
        ({"zone": 7, "kind": "city"}, {"zone": 7, "kind": "country"}, False),
        ({"tip": None}, {"tip": None}, True),
        ({"zone": {}}, {"zone": 3}, True),
        ({"zone": {}}, {"kind": "city"}, False),
    ],
)
def test_a_slice_takes_the_events_whose_fields_fit(written: Any, event: Any, taken: bool) -> None:
    assert parse_slice(written).takes(event) is taken


@pytest.mark.parametrize("written", [{}, {"zone": {"above": 1}}, {"zone": {"from": "a"}}, {"zone": []}])
def test_what_is_no_slice_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"field|range|from|value"):
        parse_slice(written)


@pytest.mark.parametrize(
    ("identity", "named"),
    [
        ("trips/slice_error/zone=7", {"zone": 7}),
        ("trips/slice_error/zone=7/kind=city", {"zone": 7, "kind": "city"}),
        ("trips/drift/requestedAt=7..9.5", {"requestedAt": {"from": 7.0, "to": 9.5}}),
        ("trips/drift/requestedAt=..9", {"requestedAt": {"to": 9.0}}),
        ("trips/drift/raining=true", {"raining": True}),
        ("trips/feature_drift/zone", {"zone": {}}),
        ("trips/drift/zone=many", None),
        ("trips/drift/other=7", None),
        ("trips/error_above_baseline", None),
        ("zone/error_above_baseline", None),
    ],
)
def test_an_alert_names_a_slice_by_its_id(identity: str, named: Any) -> None:
    assert slice_of_alert(identity, FIELDS) == named


def test_every_task_has_queues_without_any_setting() -> None:
    names = {task: [q.name for q in default_queues(task, shadows=False)] for task in ("regression", "multiclass")}
    assert names["regression"] == ["all", "sampled", "drifted", "dead-letters"]
    assert names["multiclass"] == ["all", "sampled", "uncertain", "drifted", "dead-letters"]
    assert [q.name for q in default_queues("count", shadows=True)][2:4] == ["uncertain", "disagreement"]


@pytest.mark.parametrize(
    ("queue", "problem"),
    [
        ("{name: u, kind: uncertain}", "queues.0.kind: a number alone does not say how sure it is"),
        ("{name: u, kind: uncertain, measure: margin, }", "queues.0.measure: task regression predicts numbers"),
        ("{name: u, kind: disagreement}", "queues.0.kind: disagreement is between the champion and shadows"),
        ("{name: u, kind: sampled}", "share: a sampled queue needs a share"),
        ("{name: u, kind: all, share: 0.5}", "only kind sampled has a share"),
        ("{name: u, kind: all, measure: margin}", "`measure` is for kind uncertain"),
        ("{name: u, kind: slices, alerts: false}", "needs `slices`"),
        ("{name: u, kind: slices, slices: [{y: 7}]}", "queues.0.slices.0.y: Event has id, x"),
        ("{name: u, kind: slices, slices: [{x: {above: 7}}]}", "x: a range has `from`, `to` or both"),
        ("{name: u, kind: all, where: {z: 1}}", "queues.0.where.z: Event has id, x"),
        ("{name: u, kind: all}, {name: u, kind: all}", "queues.1.name: two queues have the name 'u'"),
        ("{name: u, kind: some}", "queues.0.kind: Input should be"),
    ],
)
def test_a_wrong_queue_is_refused_by_file_line_and_field(tmp_path: Path, queue: str, problem: str) -> None:
    folder = write_toy(tmp_path / "toy")
    path = folder / "pipeline.yaml"
    before = len(path.read_text().splitlines())
    path.write_text(f"{path.read_text()}labelling:\n  queues: [{queue}]\n")
    with pytest.raises(PipelineError) as error:
        load_pipeline(folder)
    assert problem in str(error.value)
    assert f"{path}:{before + 2}: " in str(error.value)


def test_queues_that_are_written_out_are_all_there_are(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy")
    with (folder / "pipeline.yaml").open("a") as file:
        file.write("labelling: {queues: [{name: some, kind: sampled, share: 0.2}], review: 0.5}\n")
    assert [queue.name for queue in load_spec(folder).label_queues] == ["some"]
