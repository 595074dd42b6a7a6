"""A job in one process: stopped anywhere it goes on to the same bytes.

What changed is refused; nothing half is left.
"""

import os
import random
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from headrace.batch.job import Job, TooManyBadRows, Version
from headrace.batch.predicting import check_columns
from headrace.batch.run import Silent, Summary, run_batch
from headrace.batch.work import Work, work_folder
from headrace.jobs.child import Stopped
from headrace.model.pipeline import load_pipeline
from headrace.runtime.errors import ConfigError, PipelineError
from headrace.runtime.settings import ServiceSettings, load

ROOT = Path(__file__).parents[3]
TRIPS, RIDES = ROOT / "tests" / "integration" / "rpc" / "trips", ROOT / "examples" / "rides"
ROWS = 600


class StopAfter(Silent):
    """Sets `stop` after so many batches."""

    def __init__(self, batches: int) -> None:
        self.stop, self._left, self.done = threading.Event(), batches, -1

    def begun(self, version: Version, total: int, done: int) -> None:
        self.done = done

    def rows(self, read: int, bad: int) -> None:
        self._left -= 1
        if not self._left:
            self.stop.set()


def do(job: Job, batches: int = 0, **flags: Any) -> tuple[Summary, int]:
    observer = StopAfter(batches)
    return run_batch(job, load(ServiceSettings, "test"), observer, observer.stop, **flags), observer.done


@pytest.fixture
def job(tmp_path: Path) -> Job:
    torch.manual_seed(2)
    save_file(load_pipeline(TRIPS).model.network().state_dict(), tmp_path / "w.safetensors")
    chance = random.Random(1)
    rows = [
        {"trip_id": f"t{i}", "zone": 100 if i % 50 == 7 else i % 100, "distance_km": chance.uniform(0, 9),
         "raining": i % 2 == 0, "kind": "city"}
        for i in range(ROWS)
    ]  # fmt: skip
    (tmp_path / "x.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return Job(
        pipeline=str(TRIPS), inputs=[str(tmp_path / "x.jsonl")], output=str(tmp_path / "y.jsonl"),
        weights=str(tmp_path / "w.safetensors"), batch_rows=16, part_bytes=4000,
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "csv.gz", "parquet"])
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(job: Job, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "whole").mkdir()
    output = tmp_path / f"y.{suffix}"
    whole, _ = do(msgspec.structs.replace(job, output=str(tmp_path / "whole" / output.name)))
    assert (whole.rows, whole.bad_rows) == (ROWS - 12, 12)
    job = msgspec.structs.replace(job, output=str(output))
    seen = 0
    while True:
        try:
            summary, done = do(job, batches=7)
        except Stopped:
            assert not output.exists()
            continue
        seen = done
        break
    assert seen > 0
    assert summary.resumed == seen
    assert output.read_bytes() == Path(whole.output).read_bytes()
    assert Path(summary.rejected).read_bytes() == Path(whole.rejected).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        "w.safetensors", "x.jsonl", "whole", output.name,
        f"{output.name}.rejected.jsonl", f"{output.name}.summary.json",
    }  # fmt: skip


def test_a_torn_journal_and_a_torn_part_are_done_again(job: Job, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, _ = do(msgspec.structs.replace(job, output=str(tmp_path / "whole" / "y.jsonl")))
    with pytest.raises(Stopped):
        do(job, batches=20)
    folder = work_folder(job.output_path)
    journal = folder / "journal.jsonl"
    assert journal.read_bytes().count(b"\n") > 3
    os.truncate(journal, journal.stat().st_size - 5)
    part = folder / "part-000001.out"
    os.truncate(part, part.stat().st_size // 2)
    do(job)
    assert job.output_path.read_bytes() == Path(whole.output).read_bytes()


def test_what_changed_is_refused_and_what_may_change_is_not(job: Job, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        do(job, batches=20)
    torch.manual_seed(3)
    other = tmp_path / "other.safetensors"
    save_file(load_pipeline(TRIPS).model.network().state_dict(), other)
    for change, said in (
        ({"weights": str(other)}, "the version of the weights that is asked for changed"),
        ({"batch_rows": 17}, "the options changed"),
        ({"columns": ["zone"]}, "the options changed"),
    ):
        with pytest.raises(ConfigError, match=said):
            do(msgspec.structs.replace(job, **change))
    assert do(msgspec.structs.replace(job, workers=3, max_bad_rows=12), batches=10_000)[0].bad_rows == 12


def test_too_many_bad_rows_end_the_job_without_an_output(job: Job) -> None:
    with pytest.raises(TooManyBadRows, match="rows were rejected, 2 are allowed"):
        do(msgspec.structs.replace(job, max_bad_rows=2))
    assert not job.output_path.exists()
    assert do(msgspec.structs.replace(job, max_bad_rows=12))[0].bad_rows == 12


def test_a_job_that_is_done_is_not_done_again_and_another_one_replaces_nothing(job: Job) -> None:
    first, _ = do(job)
    inode = job.output_path.stat().st_ino
    assert do(job)[0] == first
    assert job.output_path.stat().st_ino == inode
    with pytest.raises(ConfigError, match="made by another job"):
        do(msgspec.structs.replace(job, columns=[]))
    assert not work_folder(job.output_path).exists()
    do(msgspec.structs.replace(job, columns=[]), overwrite=True)
    assert msgspec.json.decode(job.output_path.read_bytes().splitlines()[0]).keys() == {"trip_id", "prediction"}


def test_nothing_is_left_of_a_job_that_cannot_begin(job: Job, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="no column"):
        do(msgspec.structs.replace(job, inputs=[str(_csv(tmp_path))]))
    assert set(tmp_path.iterdir()) == {*before, tmp_path / "z.csv"}


def _csv(folder: Path) -> Path:
    (folder / "z.csv").write_text("a\n1\n")
    return folder / "z.csv"


def test_one_process_at_a_time(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Work(work_folder(job.output_path))
    monkeypatch.setattr("headrace.batch.work._LOCK_S", 0.1)
    with pytest.raises(ConfigError, match="another process works at this output"):
        do(job)
    held.close()


def test_the_output_in_the_folder_of_the_input_is_no_input(job: Job, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "x.jsonl").rename(tmp_path / "in" / "x.jsonl")
    job = msgspec.structs.replace(job, inputs=[str(tmp_path / "in")], output=str(tmp_path / "in" / "y.jsonl"))
    first, _ = do(job)
    assert do(job)[0] == first


def test_columns_and_events_give_the_same(tmp_path: Path) -> None:
    pipeline = load_pipeline(RIDES)
    save_file(pipeline.model.network().state_dict(), tmp_path / "w.safetensors")
    rows = [msgspec.to_builtins(ride) for ride in pipeline.source().sample(64)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    (tmp_path / "x.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    made = []
    for kind in ("parquet", "jsonl"):
        job = Job(
            pipeline=str(RIDES), inputs=[str(tmp_path / f"x.{kind}")], output=str(tmp_path / f"y-{kind}.parquet"),
            weights=str(tmp_path / "w.safetensors"),
        )  # fmt: skip
        do(job)
        made.append(pq.read_table(job.output).column("prediction").to_pylist())
    assert made[0] == made[1]


def test_a_model_whose_columns_make_other_features_is_refused() -> None:
    pipeline = load_pipeline(RIDES)
    rides = pipeline.source().sample(8)
    names = rides[0].__struct_fields__
    columns = {name: np.array([getattr(ride, name) for ride in rides]) for name in names}
    check_columns(pipeline, columns, rides)
    columns["distance_km"] = columns["distance_km"] + 1e-3
    with pytest.raises(PipelineError, match="features_of_columns and features differ over the same 8 rows"):
        check_columns(pipeline, columns, rides)
