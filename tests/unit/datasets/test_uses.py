"""Sets given to the pipeline: rows checked as its records, trained on, replayed, and kept while they are needed."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.contracts.events_pb2 import CheckpointPublished, CheckpointRefused
from headrace.datasets.errors import BadInput, TooManyBadRows
from headrace.datasets.importing.job import Files, Split
from headrace.datasets.retention import History, Needs, mark_use, sets_of
from headrace.datasets.using.records import records_of_sets
from headrace.datasets.watched import WatchedFolder
from headrace.model.pipeline import load_pipeline
from headrace.model.source import Timed
from headrace.training.job import TrainingJob
from services.trainer.offline.service import run_job
from tests.datasets_kit import Sets, lines
from tests.line_kit import write_toy
from tests.workbook_kit import write_workbook


@pytest.fixture
def sets(tmp_path: Path) -> Sets:
    return Sets(tmp_path)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy")


def test_rows_are_checked_as_the_pipelines_records_row_by_row(sets: Sets, toy: Path) -> None:
    text = "Id,X,note\nk1,1.5,a\nk2,x,b\n3,2,c\n,1e999,d\n"
    asked: dict[str, Any] = {"holds": "events", "pipeline": str(toy)}
    with pytest.raises(TooManyBadRows, match="2 rows do not fit"):
        sets.csv("a", text, **asked)
    assert [(row.place, row.field) for row in sets.told.bad_rows] == [("a.csv:3", "x"), ("a.csv:5", "x")]
    sets.csv("a", text, max_bad_rows=2, **asked)
    assert sets.rows("a") == [{"id": "k1", "x": 1.5, "note": "a"}, {"id": "3", "x": 2.0, "note": "c"}]
    manifest = sets.catalogue.manifest("a")
    assert (manifest.holds, manifest.key) == ("events", "id")


def test_a_column_that_records_need_is_missed_by_name(sets: Sets, toy: Path) -> None:
    with pytest.raises(BadInput, match=r"a\.csv: no column x"):
        sets.csv("a", "id,y\nk,1\n", holds="events", pipeline=str(toy))


def test_a_workbook_and_json_lines_are_checked_by_the_same_types(sets: Sets, toy: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"holds": "examples", "pipeline": str(toy), "max_bad_rows": 9}
    book = write_workbook(tmp_path / "a.xlsx", {"S": [["id", "x", "y"], [7, 1, 2.5], [8, None, 1]]})
    sets.take("a", Files([str(book)]), **asked)
    assert sets.rows("a") == [{"id": "7", "x": 1.0, "y": 2.5}]
    rows = [{"id": "a", "x": 1.0, "y": 2.0}, {"id": 1, "x": 1.0, "y": 2.0}, {"id": "b", "x": "?", "y": 2.0}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sets.take("b", Files([str(tmp_path / "b.jsonl")]), **asked)
    assert [(row.place[-1], row.field) for row in sets.told.bad_rows] == [("2", "id"), ("3", "x")]


def test_events_and_labels_of_sets_come_merged_by_their_times(sets: Sets, toy: Path) -> None:
    sets.csv("events", lines("id,x,at", [("a", 1, 10), ("b", 2, 20)]), time="at")
    sets.csv("labels", lines("id,y,at", [("a", 3, 15), ("b", 4, 40)]), time="at")
    items = list(records_of_sets(load_pipeline(toy), [sets.open("events"), sets.open("labels")]))
    shown = [(item.at, item.kind, item.value.id) for item in items if isinstance(item, Timed)]
    assert shown == [(10, "events", "a"), (15, "labels", "a"), (20, "events", "b"), (40, "labels", "b")]


def test_a_set_of_examples_gives_the_label_when_it_was_known(sets: Sets, toy: Path) -> None:
    sets.csv("a", lines("id,x,y,at,known", [("a", 1, 2, 10, 50), ("b", "", 4, 20, 30)]), time="at", label_time="known")
    items = list(records_of_sets(load_pipeline(toy), [sets.open("a")]))
    shown = [(i.at, i.kind) if isinstance(i, Timed) else str(i) for i in items]
    assert shown == [(10, "events"), "a@1, row 2: x: Expected `float`, got `null`", (30, "labels"), (50, "labels")]


def test_a_set_that_has_no_records_of_the_pipeline_or_no_order_is_refused(sets: Sets, toy: Path) -> None:
    sets.csv("a", "z\n1\n")
    with pytest.raises(BadInput, match="neither events nor labels of toy: events lack id, x; labels lack id, y"):
        list(records_of_sets(load_pipeline(toy), [sets.open("a")]))
    sets.csv("b", lines("id,x,at", [("a", 1, 20), ("b", 2, 10)]), time="at")
    with pytest.raises(BadInput, match="row 2: its at is before that of the row in front of it"):
        list(records_of_sets(load_pipeline(toy), [sets.open("b")]))


def train(sets: Sets, toy: Path, name: str, *datasets: str) -> Any:
    job = TrainingJob(
        pipeline=str(toy), folder=str(sets.folder / name), data="datasets", datasets=list(datasets), epochs=2
    )
    return run_job(job, sets.settings, lambda *_: None, lambda: None)


def test_training_takes_sets_and_its_report_names_them_with_their_digests(sets: Sets, toy: Path) -> None:
    # Where the settings' store is.
    sets = Sets(sets.folder, type(sets.catalogue.store)(sets.folder / "datasets"))  # type: ignore[call-arg]
    rows = [(f"k{i}", i / 100, i / 50, 60 * i, 60 * i + 30) for i in range(200)]
    sets.csv("all", lines("id,x,y,at,known", rows), key="id", time="at", label_time="known")
    sets.csv("e", lines("id,x,at", [row[:2] + row[3:4] for row in rows]), time="at")
    sets.csv("l", lines("id,y,at", [(row[0], row[2], row[4]) for row in rows]), time="at")
    one, two = train(sets, toy, "one", "all@1"), train(sets, toy, "two", "e@1", "l@1")
    assert one.data == {"datasets": [sets.catalogue.manifest("all@1").reference]}
    assert one.digest == two.digest  # a set of examples, and its events and labels joined, are the same
    assert one.parts["test"].from_ms == 1000 * (60 * 181 + 30)  # the first was asked for before the part began


def published(version: int, *names: str, base: int = 0) -> CheckpointPublished:
    data = json.dumps({"datasets": [{"set": name, "digest": "d"} for name in names]})
    return CheckpointPublished(model="toy", version=version, base_version=base, origin={"job": "j", "data": data})


def test_a_set_is_needed_while_a_version_that_learned_from_it_may_have_served(sets: Sets) -> None:
    for _ in range(3):
        sets.csv("a", lines("id,v", [(f"k{i}", i) for i in range(40)]), key="id")
    sets.take("a", Split("a@1", by="key", shares={"train": 0.5, "test": 0.5}))
    history = History()
    history.on_checkpoint(published(1, "a-train@1"), 1)
    assert sets_of(history.published[0]) == ["a-train@1"]
    mark_use(sets.catalogue, [{"set": "a@2", "digest": "d"}], "toy", 7)  # its event is long gone
    needs = Needs(sets.catalogue, history)
    said = {name: needs.of(sets.catalogue.manifest(name)) for name in ("a-train@1", "a@1", "a@2", "a@3", "a-test@1")}
    assert said["a-train@1"] == "toy version 1 learned from it"
    assert "a-train@1 was made from it" in said["a@1"]
    assert said["a@2"] == "toy version 7 learned from it"
    assert (said["a@3"], said["a-test@1"]) == ("", "")


def test_a_version_that_was_refused_needs_nothing(sets: Sets) -> None:
    sets.csv("a", "v\n1\n")
    mark_use(sets.catalogue, [{"set": "a@1", "digest": "d"}], "toy", 7)
    history = History()
    history.on_refusal(CheckpointRefused(model="toy", version=7, gate="worse", reason="worse"))
    assert Needs(sets.catalogue, history).of(sets.catalogue.manifest("a@1")) == ""


def test_a_watched_folder_gives_files_that_have_stopped_changing(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "rides").mkdir(parents=True)
    watched = WatchedFolder(inbox)
    (inbox / "My Rides.csv").write_text("v\n1\n")
    (inbox / "rides" / "monday.csv").write_text("v\n1\n")
    (inbox / "half.csv.part").write_text("v\n")
    assert watched.arrived() == []
    (inbox / "rides" / "monday.csv").write_text("v\n1\n2\n")
    assert [one.name for one in watched.arrived()] == ["my-rides"]
    again = watched.arrived()
    assert [one.name for one in again] == ["my-rides", "rides"]
    watched.imported(again[0].path)
    refused = watched.refused(again[1].path, "no")
    assert (refused.parent.name, refused.with_name("monday.csv.reason.txt").read_text()) == ("refused", "no\n")
    assert watched.arrived() == []
