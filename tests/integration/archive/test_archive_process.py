"""The role `archive` as a process on a real broker, killed wherever something becomes durable."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.archive.fields.types import Field
from headrace.archive.segments.listing import list_segments
from headrace.archive.segments.writing import DURABLE, RENAMED, SYNCED, WRITTEN
from headrace.contracts import topics
from headrace.runtime.endpoints import find
from services.archive.service import COMMITTED, READ
from tests.integration.archive.archive_kit import EVENT, Process, Toy


@pytest.fixture
def toy(kafka: Any, tmp_path: Path) -> Toy:
    return Toy(tmp_path, kafka.unique("toy"), kafka.bootstrap_servers)


@pytest.fixture
def archive(toy: Toy) -> Iterator[Process]:
    process = Process(toy)
    yield process
    process.stop()


def whole(toy: Toy, table: str, expected: int) -> bool:
    """Whether the table has exactly `expected` records, each offset of each partition once."""
    found = toy.ask(f"select count(*), count(distinct (_partition, _offset)) from {table}")[0]
    assert found[0] == found[1], f"{table}: {found} records and offsets"
    assert found[0] <= expected, f"{table}: {found}"
    return bool(found[0] == expected)


def test_predictions_are_kept_with_their_events_and_labels(toy: Toy, archive: Process) -> None:
    toy.flow(range(40))
    toy.send(topics.EVENTS, 40, b"{not json")
    toy.flush()
    archive.wait_for(lambda: whole(toy, "events", 41) and whole(toy, "labels", 40) and whole(toy, "predictions", 40))
    rows = toy.ask("select key, prediction, version, event.x, label.y from outputs order by event.x")
    assert rows == [(f"k{i}", i * 2.0, 3, float(i), i / 2) for i in range(40)]
    ((raw, problem, partition, offset),) = toy.ask(
        "select _raw, _problem, _partition, _offset from events where _problem is not null"
    )
    assert (raw, partition, offset) == (b"{not json", 0, 20)
    assert "malformed" in problem


def test_killed_at_each_step_it_loses_no_record_and_keeps_none_twice(toy: Toy) -> None:
    steps = (READ, WRITTEN, SYNCED, RENAMED, DURABLE, COMMITTED)
    for number, step in enumerate(steps):
        toy.flow(range(number * 30, number * 30 + 30))
        Process(toy, "--flush-rows", "7", step=step, times=5).died()
        assert toy.ask("select count(*) - count(distinct (_partition, _offset)) from events") == [(0,)]
    last, total = Process(toy, "--flush-rows", "9"), len(steps) * 30
    try:
        last.wait_for(lambda: all(whole(toy, table, total) for table in ("events", "labels", "predictions")))
        assert toy.ask("select sum(x), min(x), max(x) from events") == [(sum(range(total)), 0.0, total - 1.0)]
        assert not list(toy.root.rglob(".*.tmp"))
    finally:
        assert last.stop() == 0
    assert whole(toy, "events", total)


def test_an_orderly_stop_keeps_what_was_read(toy: Toy) -> None:
    process = Process(toy, "--flush-s", "600")
    try:
        toy.flow(range(10))
        process.wait_for(lambda: _waiting(process) > 0)
    finally:
        assert process.stop() == 0
    assert toy.count("events") > 0
    again = Process(toy)
    try:
        again.wait_for(lambda: all(whole(toy, table, 10) for table in ("events", "labels", "predictions")))
    finally:
        again.stop()


def _waiting(process: Process) -> float:
    found = find(process.toy.run_dir, "archive", "ops")
    text = httpx.get(f"{found[0]}/metrics").text if found else ""
    return next(
        (float(line.split()[1]) for line in text.splitlines() if line.startswith("headrace_archive_waiting")), 0
    )


def test_small_segments_become_one_while_records_are_counted(toy: Toy) -> None:
    """Readers count every record once at every moment, merging or not."""
    process = Process(toy, "--flush-rows", "5", "--batch", "20")
    try:
        for i in range(0, 120, 20):
            toy.flow(range(i, i + 20))
            process.wait_for(lambda i=i: whole(toy, "events", i + 20))
        folder = next((toy.root / "events").iterdir())
        process.wait_for(lambda: whole(toy, "events", 120) and len(list_segments(folder).current) <= 8)
        assert sorted(x for (x,) in toy.ask("select x from events")) == [float(i) for i in range(120)]
    finally:
        assert process.stop() == 0


def test_killed_while_it_merges_it_goes_on_with_every_record_once(toy: Toy) -> None:
    toy.flow(range(60))
    first = Process(toy, "--flush-rows", "5", "--batch", "20", "--tidy-s", "600")
    first.wait_for(lambda: all(whole(toy, table, 60) for table in ("events", "labels", "predictions")))
    first.stop()
    for step in (WRITTEN, RENAMED, DURABLE):
        Process(toy, "--merge", "2", step=step, times=2).died()
        assert all(whole(toy, table, 60) for table in ("events", "labels", "predictions"))
    last = Process(toy, "--merge", "2")
    try:
        toy.flow(range(60, 70))
        last.wait_for(lambda: all(whole(toy, table, 70) for table in ("events", "labels", "predictions")))
    finally:
        last.stop()


def test_a_new_optional_field_leaves_old_segments_readable(toy: Toy) -> None:
    first = Process(toy)
    toy.flow(range(6))
    first.wait_for(lambda: whole(toy, "events", 6))
    first.stop()
    toy.know((*EVENT, Field("city", "string")))
    second = Process(toy, "--merge", "2")
    try:
        toy.event(6, city="Graz")
        toy.event(7)
        toy.flush()
        second.wait_for(lambda: whole(toy, "events", 8))
        rows = toy.ask("select x, city from events order by x")
        assert rows == [*((float(i), None) for i in range(6)), (6.0, "Graz"), (7.0, None)]
    finally:
        second.stop()


def test_a_second_archive_waits_for_the_first_to_end(toy: Toy, archive: Process) -> None:
    toy.flow(range(4))
    archive.wait_for(lambda: whole(toy, "events", 4))
    other = Process(toy, "--startup-timeout-s", "0.5")
    assert other.process.wait(120) == 3
    assert "another process writes to" in other.text()
    other.stop()


def test_rest_answers_queries_tables_and_series(toy: Toy, archive: Process) -> None:
    toy.flow(range(10))
    at = 1_700_000_000_000
    for i in range(12):
        toy.sample("error", float(i), at + i * 10_000)
    toy.flush()
    archive.wait_for(lambda: whole(toy, "predictions", 10) and toy.count("metrics") == 12)
    tables = {one["name"]: one for one in archive.get("/v1/tables")["tables"]}
    assert tables["events"]["rows"] == 10
    assert [c["name"] for c in tables["events"]["columns"]][:2] == ["id", "x"]
    asked = {"from": at / 1000, "to": at / 1000 + 120, "step": "1m", "metric": "error"}
    (series,) = archive.get("/v1/metrics/series", **asked)["series"]
    start = at - at % 60_000
    assert series["points"] == [[start, 1.5], [start + 60_000, 6.5], [start + 120_000, 10.5]]
    assert archive.get("/v1/metrics/names", **{k: asked[k] for k in ("from", "to")}) == {
        "names": [{"name": "error", "series": 1}]
    }
    _check_query(archive)


def _check_query(archive: Process) -> None:
    url = archive.url() + "/v1/query"
    found = httpx.post(url, json={"sql": "select count(*) as n from events", "limit": 5}, timeout=120)
    assert found.json() == {"columns": [{"name": "n", "type": "int64"}], "rows": [[10]], "truncated": False}
    asked = {"sql": "select x from events order by x limit 2"}
    text = httpx.post(url, json=asked, headers={"Accept": "text/csv"}, timeout=120)
    assert text.text == "x\n0.0\n1.0\n"
    for sql, status in (("selec", 400), ("copy events to 'x'", 400), ("select * from read_csv('/etc/passwd')", 400)):
        refused = httpx.post(url, json={"sql": sql}, timeout=120)
        assert refused.status_code == status
        assert refused.json()["error"]
    slow = {"sql": "select count(*) from range(1000000000000)", "timeout_s": 0.2}
    assert httpx.post(url, json=slow, timeout=120).status_code == 408
