"""However a text file is cut into parts, its rows are read once each, in order, with their own line numbers."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.batch.job import InputFile, Job, Part, Plan, Rejected, Version
from headrace.batch.reading.inputs import find_files, stat, unpacked
from headrace.batch.reading.plan import parquet_parts, text_parts
from headrace.batch.reading.text import CsvReader, JsonReader, carried_schema
from headrace.replay.text import FileFormat
from headrace.runtime.errors import ConfigError


class Note(msgspec.Struct):
    key: str
    text: str
    load: float | None = None


PLAIN = FileFormat()


def job(**options: Any) -> Job:
    return Job(pipeline="", inputs=[], output="y.csv", **options)


def rows_of(path: Path, kind: str, part_bytes: int, form: FileFormat = PLAIN) -> tuple[list[Any], list[int], int]:
    wanted = job(part_bytes=part_bytes, batch_rows=3, form=form)
    files = [stat(path)]
    parts = text_parts(files, wanted, [form.delimiter or ","] if kind == "csv" else None)
    schema = carried_schema([], Note, None, "key")
    plan = Plan(
        job=wanted, identity={}, kind=kind, files=files, parts=parts, version=Version("m", 1, "c", ""), schema=b""
    )  # type: ignore[arg-type]
    reader = (CsvReader if kind == "csv" else JsonReader)(plan, Note, schema)
    batches = [rows for part in parts for rows in reader.read(part)]
    assert all(rows.bad == [] for rows in batches)
    events = [event for rows in batches for event in rows.events or ()]
    assert [e.key for e in events] == [key for rows in batches for key in rows.carried.column("key").to_pylist()]
    return events, [line for rows in batches for line in rows.numbers], len(parts)


TEXT = st.text(st.sampled_from('ab",\n ;é'), max_size=12)


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXT, min_size=1, max_size=30), size=st.integers(1, 200))
def test_a_csv_file_read_in_parts_is_the_file_read_whole(tmp_path: Path, texts: list[str], size: int) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(("key,text\n" + "".join(f"k{i},{quoted(t)}\n" for i, t in enumerate(texts))).encode())
    whole, lines, _ = rows_of(path, "csv", 1 << 20)
    assert [event.text for event in whole] == texts
    events, numbers, _ = rows_of(path, "csv", size)
    assert (events, numbers) == (whole, lines)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXT, min_size=1, max_size=30), size=st.integers(1, 200))
def test_a_file_of_json_lines_read_in_parts_is_the_file_read_whole(tmp_path: Path, texts: list[str], size: int) -> None:
    path = tmp_path / "x.jsonl"
    notes = [Note(f"k{i}", text, i / 2) for i, text in enumerate(texts)]
    path.write_bytes(msgspec.json.Encoder().encode_lines(notes))
    events, numbers, _ = rows_of(path, "jsonl", size)
    assert events == notes
    assert numbers == list(range(1, len(notes) + 1))


def test_a_long_file_has_several_parts(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("key,text\n" + "".join(f"k{i},t\n" for i in range(1000)))
    events, numbers, parts = rows_of(path, "csv", 500)
    assert parts > 5
    assert numbers == list(range(2, 1002))
    assert len({event.key for event in events}) == 1000


def test_stray_quotes_leave_a_file_in_one_part(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("key,text\n" + "".join(f'k{i},5" pipe\n' for i in range(100)))
    events, _, parts = rows_of(path, "csv", 100)
    assert parts == 1
    assert len(events) == 100


def test_utf_16_is_one_part_and_latin_1_several(tmp_path: Path) -> None:
    text = "key;text\n" + "".join(f"k{i};Köln\n" for i in range(100))
    for encoding, several in (("utf-16", False), ("latin-1", True)):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(text.encode(encoding))
        events, _, parts = rows_of(path, "csv", 200, FileFormat.of(";", encoding))
        assert [event.text for event in events] == ["Köln"] * 100
        assert (parts > 1) is several


def test_parts_of_parquet_are_whole_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"key": list(range(100))}), path, row_group_size=15)
    parts = parquet_parts([stat(path)], job(part_rows=30))
    assert [(p.start, p.stop, p.first, p.rows) for p in parts] == [
        (0, 2, 0, 30), (2, 4, 30, 30), (4, 6, 60, 30), (6, 7, 90, 10),
    ]  # fmt: skip
    assert sum(p.rows for p in parts) == 100


def test_bad_rows_keep_their_line_in_any_part(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("key,text,load\n" + "".join(f"k{i},t,{'inf' if i % 10 == 0 else i}\n" for i in range(100)))
    wanted = job(part_bytes=64)
    files = [stat(path)]
    plan = Plan(
        job=wanted, identity={}, kind="csv", files=files, parts=text_parts(files, wanted, [","]),
        version=Version("m", 1, "c", ""), schema=b"",
    )  # fmt: skip
    reader = CsvReader(plan, Note, carried_schema([], Note, None, "key"))
    bad = [one for part in plan.parts for rows in reader.read(part) for one in rows.bad]
    assert len(plan.parts) > 5
    assert bad == [Rejected(str(path), 2 + i, "load", "inf, expected a finite number") for i in range(0, 100, 10)]


def test_files_are_found_by_name_folder_and_pattern_once_each_and_hidden_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("1.csv", "2.csv", "b/3.csv.gz", ".hidden.csv", "_SUCCESS"):
        (tmp_path / name).write_text("key,text\n")
    kind, found = find_files([str(tmp_path / "2.csv"), str(tmp_path), str(tmp_path / "*.csv")])
    assert kind == "csv"
    assert [path.name for path in found] == ["2.csv", "1.csv", "3.csv.gz"]


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a.csv", "b.jsonl"], "several kinds: csv, jsonl"), (["a.xlsx"], "unknown kind"), ([], "no such file")],
)
def test_inputs_that_cannot_be_one_job(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(ConfigError, match=said):
        find_files([str(tmp_path)])


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(b"\x1f\x8bnot gzip at all")
    with pytest.raises(ConfigError, match=r"x\.csv\.gz: cannot be unpacked"):
        unpacked(InputFile(str(path), str(path), 1, 1), tmp_path / "into")


def test_parts_do_not_overlap(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"key":"k","text":"t"}\n' * 500)
    parts: list[Part] = text_parts([stat(path)], job(part_bytes=777), None)
    assert parts[0].start == 0
    assert parts[-1].stop == path.stat().st_size
    assert all(a.stop == b.start and a.first + a.rows == b.first for a, b in pairwise(parts))
