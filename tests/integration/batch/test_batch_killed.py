"""SIGKILL at any moment costs no row and doubles none: what is resumed makes the bytes of what was never killed."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from headrace.batch.work import work_folder
from tests.integration.batch.conftest import Batches, trips, write
from tests.patience import WAIT_S, wait_for

ROWS = 6_000


def journal_lines(output: Path) -> int:
    path = work_folder(output) / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def undisturbed(batches: Batches, source: Path, output: Path, **options: object) -> bytes:
    assert batches.start(batches.job(source, output, **options)).wait(WAIT_S) == 0
    return output.read_bytes()


def source_of(kind: str, tmp_path: Path) -> Path:
    rows = trips(ROWS)
    for i in range(0, ROWS, 250):
        rows[i]["zone"] = 100  # refused
    return write(rows, tmp_path / f"x.{kind}", row_group_size=250)


@pytest.mark.parametrize(("kind", "workers"), [("parquet", 1), ("csv", 2), ("jsonl", 2)])
def test_killed_at_random_moments_it_makes_the_same_bytes(
    batches: Batches, tmp_path: Path, kind: str, workers: int
) -> None:
    source = source_of(kind, tmp_path)
    options = {"workers": workers, "part_rows": 250, "part_bytes": 25_000, "batch_rows": 64}
    wanted = undisturbed(batches, source, tmp_path / f"whole.{kind}", **options)
    rejected = (tmp_path / f"whole.{kind}.rejected.jsonl").read_bytes()
    assert rejected.count(b"\n") == ROWS // 250

    output, chance, kills = tmp_path / f"y.{kind}", random.Random(kind), 0
    (tmp_path / "into").mkdir()
    output = tmp_path / "into" / f"whole.{kind}"
    job = batches.job(source, output, **options)
    while kills < 3:
        before = journal_lines(output)
        process = batches.start(job)
        wait_for(lambda: process.poll() is not None or journal_lines(output) > before)  # noqa: B023
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        if process.wait(WAIT_S) == 0:
            break
        assert not output.exists() or not work_folder(output).exists() or journal_lines(output) > 0
        kills += 1
    assert kills > 0
    assert batches.start(job).wait(WAIT_S) == 0
    assert output.read_bytes() == wanted
    assert output.with_name(f"{output.name}.rejected.jsonl").read_bytes() == rejected
    assert not work_folder(output).exists()


def test_workers_end_with_the_process_that_is_killed(batches: Batches, tmp_path: Path) -> None:
    output = tmp_path / "y.csv"
    process = batches.start(batches.job(source_of("csv", tmp_path), output, workers=2, part_bytes=25_000))
    workers = _children(process, 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))


def test_a_worker_that_is_killed_is_replaced_and_its_part_done_again(batches: Batches, tmp_path: Path) -> None:
    source, options = source_of("csv", tmp_path), {"workers": 2, "part_bytes": 25_000, "batch_rows": 16}
    (tmp_path / "into").mkdir()
    wanted = undisturbed(batches, source, tmp_path / "into" / "y.csv", **options)
    output = tmp_path / "y.csv"
    process = batches.start(batches.job(source, output, **options))
    workers = _children(process, 2)
    wait_for(lambda: journal_lines(output) > 0 or process.poll() is not None)
    workers[0].send_signal(signal.SIGKILL)
    assert process.wait(WAIT_S) == 0
    assert output.read_bytes() == wanted


def test_a_torn_line_of_the_journal_is_done_again(batches: Batches, tmp_path: Path) -> None:
    source, options = source_of("jsonl", tmp_path), {"workers": 1, "part_bytes": 25_000, "batch_rows": 64}
    (tmp_path / "into").mkdir()
    wanted = undisturbed(batches, source, tmp_path / "into" / "y.jsonl", **options)
    output = tmp_path / "y.jsonl"
    process = batches.start(batches.job(source, output, **options))
    wait_for(lambda: journal_lines(output) > 2 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait(WAIT_S) == -signal.SIGKILL
    journal = work_folder(output) / "journal.jsonl"
    os.truncate(journal, journal.stat().st_size - 3)
    first = next(work_folder(output).glob("part-*0.out"))
    os.truncate(first, first.stat().st_size // 2)
    assert batches.start(batches.job(source, output, **options)).wait(WAIT_S) == 0
    assert output.read_bytes() == wanted


def test_a_second_process_at_the_same_output_is_refused(batches: Batches, tmp_path: Path) -> None:
    output = tmp_path / "y.jsonl"
    job = batches.job(source_of("jsonl", tmp_path), output, workers=1, batch_rows=8)
    first = batches.start(job)
    wait_for(lambda: (work_folder(output) / "plan.json").exists() or first.poll() is not None)
    first.send_signal(signal.SIGSTOP)  # it holds its lock, however long the second takes to start
    second = batches.start(job)
    said = second.stdout.read() if second.stdout else b""
    assert second.wait(WAIT_S) == 2
    assert b"another process works at this output" in said
    first.kill()


def _children(process: "subprocess.Popen[bytes]", count: int) -> list[psutil.Process]:
    found: list[psutil.Process] = []

    def look() -> bool:
        found[:] = psutil.Process(process.pid).children()
        return len(found) >= count

    wait_for(look)
    return found
