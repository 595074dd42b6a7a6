"""`headrace produce` from files and from a source to a real broker: what is on the topics is what readers decode."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from headrace.cli.catalogue import application
from headrace.model.pipeline import load_pipeline
from headrace.model.template import write_pipeline
from tests.line_kit import read_all

EVENTS = "reading_id;load;ambient;temperature\na;0.5;21;\nb;nan;21;\nc;0.25;21;NaN\nMünchen;1;21;inf\nKöln;1;20;19.5\n"


@pytest.fixture
def folder(kafka: Any, tmp_path: Path) -> Path:
    return write_pipeline(kafka.unique("heat"), tmp_path)


def produce(folder: Path, kafka: Any, *arguments: str) -> Result:
    return CliRunner().invoke(
        application(), ["produce", str(folder), *arguments, "--kafka", kafka.bootstrap_servers], prog_name="headrace"
    )


def test_a_file_with_semicolons_in_latin_1_and_bad_numbers(kafka: Any, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_bytes(EVENTS.encode("latin-1"))
    refused = produce(folder, kafka, "--events", str(file))
    assert refused.exit_code == 2
    assert "are columns separated by ';'? --delimiter ';'" in refused.output
    result = produce(folder, kafka, "--events", str(file), "--delimiter", ";", "--encoding", "latin-1")
    assert result.exit_code == 0, result.output
    assert "produced 3 events and 0 labels" in result.output
    assert f"skipped {file}:3: load: nan, expected a finite number" in result.output
    assert f"skipped {file}:5: temperature: inf, expected a finite number" in result.output
    assert "2 bad rows skipped" in result.output
    pipeline = load_pipeline(folder)
    kind = pipeline.model.event_type()
    records = read_all(kafka.bootstrap_servers, f"{pipeline.name}.events", pipeline.spec.topics.partitions, 3)
    found = sorted(
        (pipeline.event_decoder.decode(record.value()) for record in records), key=lambda event: event.reading_id
    )
    assert found == [kind("Köln", 1.0, 20.0, 19.5), kind("a", 0.5, 21.0), kind("c", 0.25, 21.0)]


def test_strict_ends_at_the_first_bad_row(kafka: Any, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"reading_id":"a","load":NaN,"ambient":1}\n')
    result = produce(folder, kafka, "--events", str(file), "--strict")
    assert result.exit_code == 5
    assert f"{file}:1: load: NaN, expected a finite number" in result.output


def test_a_source_that_gives_nan_is_told_by_record(kafka: Any, folder: Path) -> None:
    source = folder / "source.py"
    text = source.read_text()
    assert "round(load, 3)" in text
    source.write_text(text.replace("round(load, 3)", 'round(load, 3) if i != 1 else float("nan")'))
    result = produce(folder, kafka, "--limit", "5")
    assert result.exit_code == 0, result.output
    assert "skipped record 2 of Machines: load: nan, expected a finite number" in result.output
    name = load_pipeline(folder).name
    values = [msgspec.json.decode(m.value()) for m in read_all(kafka.bootstrap_servers, f"{name}.events", 4, 5)]
    assert all(value["load"] is not None for value in values)
