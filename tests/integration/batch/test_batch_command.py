"""`headrace batch`: every format, bad rows, what is refused, and the same answers as other entries."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.batch.work import work_folder
from headrace.client.predict import predict
from tests.integration.batch.conftest import TRIPS, Batches, read, trips, write
from tests.integration.batch.published import publish
from tests.integration.rpc.rpc_process import start, stop


@pytest.mark.parametrize("source", ["x.parquet", "x.csv", "x.jsonl"])
@pytest.mark.parametrize("target", ["y.parquet", "y.csv.gz", "y.jsonl"])
def test_every_format_to_every_format(batches: Batches, tmp_path: Path, source: str, target: str) -> None:
    rows = trips(300)
    done = batches.command("--input", write(rows, tmp_path / source), "--output", tmp_path / target, "--workers", "1")
    assert done.returncode == 0, done.stderr
    made = read(tmp_path / target)
    assert [row["prediction"] for row in made] == pytest.approx(batches.by_hand(rows), rel=1e-6)
    nulls = {"tip": None, "note": ""}
    for row, given in zip(made, rows, strict=True):
        del row["prediction"]
        if source == "x.csv" or target.startswith("y.csv"):
            assert {k: v if v is not None else nulls.get(k) for k, v in row.items()} == given
        else:
            assert row == given
    assert "predicted 300 rows" in done.stdout
    assert not list(tmp_path.glob(".*"))


def test_the_same_answers_as_rpc(batches: Batches, tmp_path: Path) -> None:
    rows = trips(200)
    process, endpoints = start(tmp_path, "--weights", str(batches.weights))
    try:
        asked = [one["prediction"] for one in predict(endpoints["rest"], "trips", rows)]
    finally:
        stop(process)
    done = batches.command(
        "--input", write(rows, tmp_path / "x.jsonl"), "--output", tmp_path / "y.jsonl", "--workers", "1"
    )
    assert done.returncode == 0, done.stderr
    assert [row["prediction"] for row in read(tmp_path / "y.jsonl")] == asked


def test_bad_rows_are_listed_and_the_exit_code_says_so(batches: Batches, tmp_path: Path) -> None:
    rows = trips(50)
    rows[3]["zone"] = 100
    rows[7]["distance_km"] = float("inf")
    rows[9]["note"] = "explode"
    source = write(rows, tmp_path / "x.parquet")
    done = batches.command("--input", source, "--output", tmp_path / "y.jsonl", "--workers", "1")
    assert done.returncode == 5, done.stderr
    listed = [json.loads(line) for line in (tmp_path / "y.jsonl.rejected.jsonl").read_text().splitlines()]
    assert [(one["file"], one["row"], one["field"]) for one in listed] == [
        (str(source), 4, "zone"), (str(source), 8, "distance_km"), (str(source), 10, ""),
    ]  # fmt: skip
    assert listed[1]["reason"] == "inf, expected a finite number"
    assert listed[2]["reason"] == "the model raised RuntimeError: this note explodes"
    good = [row for i, row in enumerate(rows) if i not in (3, 7, 9)]
    made = read(tmp_path / "y.jsonl")
    assert [row["trip_id"] for row in made] == [row["trip_id"] for row in good]
    assert [row["prediction"] for row in made] == pytest.approx(batches.by_hand(good), rel=1e-6)
    summary = json.loads((tmp_path / "y.jsonl.summary.json").read_text())
    assert (summary["rows"], summary["bad_rows"], summary["version"]) == (47, 3, 0)

    few = batches.command("--input", source, "--output", tmp_path / "z.jsonl", "--workers", "1", "--max-bad-rows", "2")
    assert few.returncode == 5
    assert "3 rows were rejected, 2 are allowed" in few.stderr
    assert not (tmp_path / "z.jsonl").exists()
    enough = batches.command(
        "--input", source, "--output", tmp_path / "z.jsonl", "--workers", "1", "--max-bad-rows", "3"
    )
    assert enough.returncode == 0, enough.stderr
    assert (tmp_path / "z.jsonl").read_bytes() == (tmp_path / "y.jsonl").read_bytes()


def test_two_processes_make_the_same_bytes_as_one(rides: Batches, tmp_path: Path) -> None:
    events = rides.pipeline.source().sample(64)
    rows = [{name: getattr(event, name) for name in event.__struct_fields__} for event in events] * 40
    source = write(rows, tmp_path / "x.parquet", row_group_size=200)
    made = []
    for workers in (1, 2):
        output = tmp_path / f"y{workers}.parquet"
        process = rides.start(rides.job(source, output, workers=workers, part_rows=400, batch_rows=128))
        assert process.wait(120) == 0
        made.append(output.read_bytes())
    assert made[0] == made[1]
    table = pq.read_table(output)
    assert table.column("prediction").to_pylist() == pytest.approx(rides.by_hand(rows), rel=1e-5)
    assert table.schema.metadata[b"headrace.model"] == b"rides"
    assert pq.read_metadata(output).num_row_groups == 7


def test_what_changed_is_refused_and_what_is_done_is_not_done_again(batches: Batches, tmp_path: Path) -> None:
    rows = trips(20)
    source, output = write(rows, tmp_path / "x.csv"), tmp_path / "y.csv"
    rows[0]["zone"] = 500
    write(rows, source)
    few = ("--input", source, "--output", output, "--workers", "1", "--max-bad-rows", "0")
    assert batches.command(*few).returncode == 5  # unfinished: its work stays
    write(trips(21), source)
    changed = batches.command(*few)
    assert changed.returncode == 2
    assert "an unfinished job is there, and the input's files changed since it began" in changed.stderr
    assert batches.command(*few, "--restart").returncode == 0
    inode = output.stat().st_ino
    again = batches.command(*few)
    assert again.returncode == 0
    assert output.stat().st_ino == inode
    other = batches.command(*few, "--columns", "zone")
    assert other.returncode == 2
    assert "is there already, made by another job" in other.stderr
    assert batches.command(*few, "--columns", "zone", "--overwrite").returncode == 0
    assert list(read(output)[0]) == ["trip_id", "zone", "prediction"]


def test_other_columns_delimiter_encoding_and_compression(batches: Batches, tmp_path: Path) -> None:
    text = "Trip ID;zone;distance_km;raining;kind;city\nt1;5;2.5;true;city;Köln\nt2;6;NaN;false;city;Bonn\n"
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode("latin-1")))
    done = batches.command(
        "--input", tmp_path / "*.csv.gz", "--output", tmp_path / "y.jsonl", "--delimiter", ";", "--encoding", "latin-1",
        "--columns", "city,zone", "--max-bad-rows", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = read(tmp_path / "y.jsonl")
    assert {k: row[k] for k in ("trip_id", "zone", "city")} == {"trip_id": "t1", "zone": 5, "city": "Köln"}
    assert set(row) == {"trip_id", "zone", "city", "prediction"}
    assert '"row":3,"field":"distance_km"' in (tmp_path / "y.jsonl.rejected.jsonl").read_text()


def test_a_file_that_lacks_a_field(batches: Batches, tmp_path: Path) -> None:
    pq.write_table(pa.table({"trip_id": ["t"]}), tmp_path / "x.parquet")
    done = batches.command("--input", tmp_path / "x.parquet", "--output", tmp_path / "y.parquet")
    assert done.returncode == 2
    assert "no column zone, distance_km, raining, kind" in done.stderr
    assert not (tmp_path / "y.parquet").exists()


def test_stopped_by_a_signal_it_goes_on(batches: Batches, tmp_path: Path) -> None:
    source, output = write(trips(8_000), tmp_path / "x.jsonl"), tmp_path / "y.jsonl"
    command = ["--input", str(source), "--output", str(output), "--batch", "16", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "batch", str(TRIPS), "--weights", str(batches.weights), *command],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert "8,000 rows" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read()
    assert process.wait(60) == 130
    process.stderr.close()
    assert "the same command goes on where it was" in said
    assert not output.exists()
    assert work_folder(output).is_dir()
    assert batches.command(*command).returncode == 0
    assert [row["trip_id"] for row in read(output)] == [f"t{i}" for i in range(8_000)]


def test_ray_is_asked_for_and_not_there(batches: Batches, tmp_path: Path) -> None:
    source = write(trips(5), tmp_path / "x.jsonl")
    done = batches.command("--input", source, "--output", tmp_path / "y.jsonl", "--engine", "ray")
    assert done.returncode == 2
    assert "pip install 'ray[data]'" in done.stderr


@pytest.mark.kafka
def test_the_newest_published_version_and_an_older_one(batches: Batches, kafka: Any, tmp_path: Path) -> None:
    folder, model = publish(kafka, batches, tmp_path)
    rows = trips(30)
    source = write(rows, tmp_path / "x.jsonl")
    env = {"HEADRACE_STORAGE_DIR": str(tmp_path / "storage"), "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    for flags, version in (((), "2"), (("--version", "1"), "1"), (("--version", "9"), "")):
        output = tmp_path / f"y{version}.parquet"
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "batch", str(folder), "--input", str(source), "--output", str(output),
             *flags], capture_output=True, text=True, check=False, env={**os.environ, **env},
        )  # fmt: skip
        if not version:
            assert done.returncode == 2
            assert f"no version 9 of '{model}' was published" in done.stderr
            continue
        assert done.returncode == 0, done.stderr
        table = pq.read_table(output)
        assert table.schema.metadata[b"headrace.version"] == version.encode()
        scaled = [p * int(version) for p in batches.by_hand(rows)]
        assert table.column("prediction").to_pylist() == pytest.approx(scaled, rel=1e-4)
