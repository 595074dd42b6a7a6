"""SQL over an archive: what it may ask, what it reaches, and how its answers look."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from headrace.archive.fields.pipeline import FILE
from headrace.archive.fields.types import Field, PipelineFields
from headrace.archive.folder import root_of, topic_folder
from headrace.archive.queries.answers import csv_bytes, plain, shown
from headrace.archive.queries.checking import QueryError, QueryTimeoutError, QueryTooLargeError
from headrace.archive.queries.request import QueryRequest
from headrace.archive.queries.running import QueryLimits, ask
from headrace.archive.queries.tables import describe_tables
from headrace.archive.segments.manifest import Manifest
from headrace.archive.segments.writing import write_segment
from headrace.archive.tables import Records, pipeline_tables
from headrace.cli.catalogue import application
from headrace.contracts.records import Prediction
from headrace.runtime.errors import ConfigError
from services.archive.queries import Answerer

FIELDS = PipelineFields(
    "", (Field("id", "string"), Field("x", "double")), (Field("id", "string"), Field("y", "double")),
    Field("prediction", "double"),
)  # fmt: skip


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    storage = tmp_path_factory.mktemp("storage")
    root = root_of(storage, "toy")
    root.mkdir(parents=True)
    (root / FILE).write_bytes(msgspec.json.encode(FIELDS))
    made = [Prediction(f"k{i}", i * 1.5, "toy", 3, "d", (0, i), 1000, 2000) for i in range(4)]
    put(root, "events", [{"id": f"k{i}", "x": i} for i in range(4)])
    put(root, "labels", [{"id": f"k{i}", "y": -i} for i in (0, 1, 1)])
    put(root, "predictions", made)
    return storage


@pytest.fixture
def root(storage: Path) -> Path:
    return root_of(storage, "toy")


def put(root: Path, name: str, records: list[object]) -> None:
    table = next(one for one in pipeline_tables("toy", FIELDS) if one.name == name)
    values = [msgspec.json.encode(record) for record in records]
    keys = [msgspec.json.decode(v).get("key", msgspec.json.decode(v).get("id")).encode() for v in values]
    offsets = list(range(len(values)))
    rows = table.encoder()(Records(0, offsets, [1000 + i for i in offsets], keys, values))
    manifest = Manifest(table.topic, "id", 0, 0, len(values), rows.table.num_rows, rows.from_ms, rows.to_ms)
    write_segment(topic_folder(root, name, "id"), rows.table, manifest)


def test_outputs_are_predictions_with_the_event_that_they_name_and_the_newest_label(root: Path) -> None:
    answer = ask(root, "toy", "select key, prediction, event.x, label.y, label_at from outputs order by key")
    assert shown(answer)["rows"] == [
        ["k0", 0.0, 0.0, 0.0, "1970-01-01T00:00:01.000Z"],
        ["k1", 1.5, 1.0, -1.0, "1970-01-01T00:00:01.002Z"],
        ["k2", 3.0, 2.0, None, None],
        ["k3", 4.5, 3.0, None, None],
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "", "selec", "select nothing from events", "select 1; select 2", "copy events to '/tmp/x'", "set threads = 9",
        "create table t as select 1", "insert into events select 1", "attach 'x.db'", "install httpfs",
        "pragma version",
        "select * from read_csv('/etc/passwd')", "select * from '/etc/passwd'", "select * from 'http://localhost/x.csv'",
        "select (select count(*) from read_text('/etc/passwd'))", "select * from glob('/*')",
        "with t as (from read_parquet('/x')) select * from t", "select * from query('select 1')",
        "select * from duckdb_settings()", "select * from root",
        "select * from read_blob('/etc/shadow') union select 1",
    ],
)  # fmt: skip
def test_nothing_but_one_query_over_the_tables_is_answered(root: Path, sql: str) -> None:
    with pytest.raises(QueryError) as refused:
        ask(root, "toy", sql)
    assert "root:" not in str(refused.value)


def test_time_memory_and_rows_are_limited(root: Path) -> None:
    with pytest.raises(QueryTimeoutError, match=r"more than 0\.1 s"):
        ask(root, "toy", "select count(*) from range(10000000000) a, range(1000) b", QueryLimits(seconds=0.1))
    with pytest.raises(QueryTooLargeError, match="more than 32 MiB"):
        ask(root, "toy", "select list(i) from range(30000000) t(i)", QueryLimits(memory_mb=32))
    cut = ask(root, "toy", "select x from events order by x", QueryLimits(rows=2))
    assert (cut.table["x"].to_pylist(), cut.is_cut) == ([0.0, 1.0], True)
    assert not ask(root, "toy", "select x from events", QueryLimits(rows=4)).is_cut


def test_tables_say_what_is_in_them(root: Path) -> None:
    tables = {one["name"]: one for one in describe_tables(root, "toy")}
    assert set(tables) == {"events", "labels", "predictions", "shadows", "examples", "outputs", "metrics"}
    assert (tables["events"]["rows"], tables["events"]["segments"]) == (4, 1)
    assert tables["events"]["to"] == "1970-01-01T00:00:01.003Z"
    assert tables["events"]["columns"][1] == {"name": "x", "type": "DOUBLE"}
    assert "rows" not in tables["outputs"]


def test_a_folder_without_an_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no archive at"):
        ask(tmp_path, "toy", "select 1")


def test_answers_are_json_and_csv(root: Path) -> None:
    values = "'a,b' as t, {'x': 1.5, 'l': [1, null]} as s, 'nan'::double as n, '\\x01'::blob as b, sum(7) as total"
    answer = ask(root, "toy", f"select {values}")
    assert shown(answer)["rows"] == [["a,b", {"x": 1.5, "l": [1, None]}, None, "\x01", 7]]
    assert csv_bytes(answer.table).decode().splitlines()[1].startswith('"a,b","{""x"":1.5')
    assert plain(10**30) == 10**30


def test_queries_in_processes_of_their_own_answer_the_same(root: Path) -> None:
    answerer = Answerer(root, "toy", QueryRequest(str(root), "toy", rows=3), running=1)
    found = msgspec.json.decode(answerer.query("select x from events order by x", 100, 30.0, "json"))
    assert (found["rows"], found["truncated"]) == ([[0.0], [1.0], [2.0]], True)
    with pytest.raises(QueryError, match="only a query"):
        answerer.query("drop view events", 1, 30.0, "json")


def test_the_command_shows_rows_and_writes_files(storage: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        named = ["--pipeline", "toy", "--storage", str(storage)]
        result = CliRunner().invoke(application(), ["query", *arguments, *named], prog_name="headrace")
        assert result.exit_code == 0, result.output
        return result.stdout

    assert run("select id, x from events order by x limit 1", "--format", "json") == '{"id":"k0","x":0.0}\n'
    assert run("select id from events order by x", "--format", "csv", "--limit", "1") == "id\nk0\n"
    assert "k3" in run("select id, x from events")
    assert "events" in run("tables")
    for suffix in ("csv", "json", "parquet"):
        run("select id from events", "-o", str(tmp_path / f"rows.{suffix}"))
        assert (tmp_path / f"rows.{suffix}").stat().st_size > 10
