"""Label Studio's JSON: out and in again without loss, each annotation once, and what cannot be read is named."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.labelling.errors import LabellingError
from services.labelling.forms.fields import FormField
from services.labelling.studio.importing import Importer
from services.labelling.studio.reading import Reader, parse_tasks
from services.labelling.studio.results import StudioError, configuration, label_of, results_of
from services.labelling.studio.writing import Writer
from tests.labelling_kit import World
from tests.unit.labelling.test_desk import given as label_next
from tests.unit.labelling.test_desk import pipeline, published, world

FIELDS = [
    FormField("n", "number"), FormField("i", "integer"), FormField("b", "boolean"),
    FormField("c", "choice", choices=["x", "y", 3]), FormField("cs", "choices", choices=["p", "q"]),
    FormField("t", "text"), FormField("d", "datetime"), FormField("j", "json"),
]  # fmt: skip
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.floats(allow_nan=False, allow_infinity=False), "i": st.integers(-(2**53), 2**53), "b": st.booleans(),
        "c": st.sampled_from(["x", "y", 3]), "cs": st.lists(st.sampled_from(["p", "q"]), unique=True),
        "t": st.text(st.characters(exclude_categories=["Cs"])), "d": st.just("2026-01-01T10:00"),
        "j": st.dictionaries(st.text("abc"), st.integers(0, 9)),
    },
)  # fmt: skip


@given(LABELS)
def test_any_label_survives_as_results(label: dict[str, Any]) -> None:
    results = msgspec.json.decode(msgspec.json.encode(results_of(label, FIELDS)))
    assert label_of(results, FIELDS, "here") == label


def tasks(world: World) -> list[Any]:
    model = world.pipeline.model
    writer = Writer(world.form, world.pipeline.name, model.task, model.classes)
    return [msgspec.json.decode(msgspec.json.encode(writer.task(e))) for e in world.store.entries.values()]


def bring(world: World, given: Any, queue: str = "all") -> list[str]:
    """Import tasks; why some were refused."""
    reader = Reader(world.form, world.pipeline.name, world.pipeline.event_decoder)
    importer = Importer(world.desk, world.form, {"all": 1000})
    refused = []
    for number, one in enumerate(parse_tasks(msgspec.json.encode(given))):
        try:
            importer.bring(reader.task(one, number), queue, number, world.now_ms)
        except (StudioError, LabellingError) as error:
            refused.append(str(error))
    world.round()
    return refused


def test_an_exported_item_has_its_event_its_prediction_and_what_people_said(tmp_path: Path) -> None:
    w = world(tmp_path, 2)
    label_next(w, "ana", 1.5)
    w.desk.lease("all", "ben", w.now_ms)
    w.desk.skip("0-1", "ben", "unclear", w.now_ms)
    labelled, skipped = sorted(tasks(w), key=lambda task: task["meta"]["headrace"]["item"])
    assert labelled["data"] == {"id": "k0", "x": 0.0}
    (annotation,) = labelled["annotations"]
    assert annotation["completed_by"] == {"email": "ana"}
    assert annotation["result"] == [{"from_name": "y", "to_name": "event", "type": "number", "value": {"number": 1.5}}]
    assert annotation["created_at"] == "1970-01-12T13:46:40.000Z"
    assert labelled["predictions"][0]["model_version"] == "toy 1"
    assert labelled["predictions"][0]["result"][0]["value"] == {"number": 0.5}
    assert (skipped["annotations"][0]["was_cancelled"], skipped["annotations"][0]["result"]) == (True, [])
    assert (skipped["total_annotations"], skipped["cancelled_annotations"]) == (0, 1)


def test_what_was_exported_comes_back_into_an_empty_desk_the_same(tmp_path: Path) -> None:
    w = world(tmp_path, 3, review=1.0)
    label_next(w, "ana", 1.5)
    label_next(w, "ben", 2.5, reviews="only")
    label_next(w, "cleo", 4.0, reviews="never")
    before = tasks(w)
    other = World(pipeline(tmp_path / "other", review=1.0))
    assert bring(other, before) == []
    after = tasks(other)
    strip = lambda some: [{**one, "meta": None, "predictions": len(one["predictions"])} for one in some]  # noqa: E731
    key = lambda one: one["data"]["id"]  # noqa: E731
    assert sorted(strip(after), key=key) == sorted(strip(before), key=key)
    assert published(other) == [("k0", 2.5)]


def test_a_file_that_is_imported_again_changes_nothing(tmp_path: Path) -> None:
    w = world(tmp_path, 2)
    label_next(w, "ana", 1.5)
    file = tasks(w)
    before = (dict(w.state.records), len(w.state.labels))
    assert bring(w, file) == []
    records = {key: value for key, value in w.state.records.items() if not key.endswith(b"positions")}
    assert (records, len(w.state.labels)) == (
        {key: value for key, value in before[0].items() if not key.endswith(b"positions")},
        before[1],
    )


STUDIO = {
    "id": 17,
    "data": {"id": "k9", "x": 3.0},
    "file_upload": "abc-events.csv",
    "inner_id": 4,
    "project": 2,
    "created_at": "2026-01-01T00:00:00.123456Z",
    "meta": {"batch": "b7"},
    "predictions": [{"model_version": "old", "score": 0.5, "result": []}],
    "annotations": [
        {
            "id": 5,
            "completed_by": 3,
            "created_at": "2026-01-02T03:04:05.678901Z",
            "lead_time": 12.3456,
            "ground_truth": True,
            "was_cancelled": False,
            "result": [
                {"id": "r1", "origin": "manual", "from_name": "y", "to_name": "event", "type": "number",
                 "value": {"number": 2}}
            ],
        }
    ],
}  # fmt: skip


def test_a_task_of_label_studio_becomes_an_item_and_keeps_what_headrace_does_not_use(tmp_path: Path) -> None:
    w = world(tmp_path, 0)
    assert bring(w, STUDIO) == []
    assert bring(w, [STUDIO]) == []
    assert published(w) == [("k9", 2.0)]
    (label,) = w.state.labels
    assert label.headers["headrace-labeller"] == b"user 3"
    (task,) = tasks(w)
    for name in ("id", "data", "file_upload", "inner_id", "project", "created_at", "predictions"):
        assert task[name] == STUDIO[name]
    assert task["meta"]["batch"] == "b7"
    (annotation,), (wanted,) = task["annotations"], STUDIO["annotations"]  # type: ignore[misc]
    for name in ("id", "completed_by", "created_at", "lead_time", "ground_truth"):
        assert annotation[name] == wanted[name]  # type: ignore[index]


def changed(**annotation: Any) -> Any:
    return {**STUDIO, "annotations": [{**STUDIO["annotations"][0], **annotation}]}  # type: ignore[index]


RESULT = {"from_name": "y", "to_name": "event", "type": "number", "value": {"number": 2}}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({**STUDIO, "data": {"x": 1.0}}, "task 0: `data` has no 'id', the event's key"),
        ({"annotations": []}, "task 0: `data` is not an object"),
        (7, "task 0: not an object"),
        ({**STUDIO, "meta": {"headrace": {"pipeline": "rides"}}}, "task 0: it is of pipeline 'rides', this is 'toy'"),
        (
            changed(result=[{**RESULT, "type": "rectanglelabels"}]),
            "result 0: type 'rectanglelabels', 'y' takes 'number'",
        ),
        (changed(result=[{**RESULT, "from_name": "z"}]), "result 0: from_name 'z' is no field of the label: y"),
        (changed(result=[{**RESULT, "parentID": "p"}]), "result 0: 'parentID' is unknown here"),
        (changed(result=[RESULT, RESULT]), "result 1: 'y' has a result already"),
        (changed(result=[{**RESULT, "value": {"number": "x"}}]), "y: Expected `float`, got `str`"),
        (changed(result=[{**RESULT, "value": {"number": 1, "b": 2}}]), "`value` has 'number' and nothing else"),
        (changed(result=None), "annotation 0: `result` is not a list"),
        (changed(completed_by=None), "annotation 0: `completed_by` names nobody"),
        (changed(created_at="soon"), "annotation 0: `created_at` is 'soon', not a time"),
        (changed(lead_time="long"), "annotation 0: `lead_time` is not a number"),
    ],
)
def test_what_cannot_be_read_is_refused_by_place_and_name_and_the_others_are_taken(
    tmp_path: Path, task: Any, said: str
) -> None:
    w = world(tmp_path, 0)
    good = {"data": {"id": "k1", "x": 1.0}}
    (refused,) = bring(w, [task, good])
    assert said in refused
    assert [entry.item.key for entry in w.store.entries.values()] == ["k1"]
    assert w.state.labels == []


def test_a_second_persons_annotation_is_a_review_and_the_same_persons_replaces_theirs(tmp_path: Path) -> None:
    w = world(tmp_path, 0)
    first = STUDIO["annotations"][0]  # type: ignore[index]
    value = lambda n: [{**RESULT, "value": {"number": n}}]  # noqa: E731
    others = [
        {**first, "created_at": "2026-01-03T00:00:00Z", "result": value(5)},
        {**first, "created_at": "2026-01-04T00:00:00Z", "completed_by": {"email": "ben"}, "result": value(6)},
    ]
    assert bring(w, {**STUDIO, "annotations": [others[1], first, others[0]]}) == []
    (entry,) = w.store.entries.values()
    assert [(d.labeller, d.kind, bool(d.undone_ms)) for d in entry.work.decisions] == [
        ("user 3", "label", True),
        ("user 3", "label", False),
        ("ben", "review", False),
    ]
    assert published(w) == [("k9", 6.0)]
    assert w.loop.parts.shown.agreement()["fields"][0]["mean_absolute_difference"] == 1.0


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text("aéy\"'"),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["data", "annotations", "result", "id", "x", "meta", "headrace", "completed_by"]), x
            )
        ),
    )
)
def test_no_content_of_a_file_is_anything_but_taken_or_refused(made: Any) -> None:
    w = _empty()
    bring(w, [made, {"data": {"id": "a"}, "annotations": made}, {"data": {"id": "b"}, "meta": made}])


_WORLD: list[World] = []


def _empty() -> World:
    if not _WORLD:
        import tempfile

        _WORLD.append(world(Path(tempfile.mkdtemp()), 0))
    return _WORLD[0]


def test_the_configuration_has_a_control_for_each_field_and_a_text_for_each_of_the_event() -> None:
    root = ET.fromstring(configuration(FIELDS, ["a<b", "c"]))
    assert [one.get("value") for one in root.iter("Text")] == ["$a<b", "$c"]
    controls = [one for one in root if one.get("toName")]
    assert [(one.tag, one.get("name")) for one in controls] == [
        ("Number", "n"), ("Number", "i"), ("Choices", "b"), ("Choices", "c"), ("Choices", "cs"), ("TextArea", "t"),
        ("DateTime", "d"), ("TextArea", "j"),
    ]  # fmt: skip
    assert {one.get("toName") for one in controls} == {"event"}
    assert [one.get("value") for one in controls[3]] == ["x", "y", "3"]
