"""`headrace drift` and `headrace alerts`, what needs neither a role nor a broker; and how drift looks."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.cli.views.drift import column_page, drift_page
from headrace.drift.reference_file import read_reference
from headrace.runtime.errors import ConfigError
from services.drift.service import Watch
from services.drift.snapshot import snapshot
from tests.unit.drift.test_drift_service import WATCHED, River

MODEL = """
from collections.abc import Sequence

import msgspec
import torch

from headrace import Model


class Event(msgspec.Struct):
    id: str
    x: float
    colour: str


class Label(msgspec.Struct):
    id: str
    y: float


class Toy(Model[Event, Label]):
    key = "id"

    def network(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        return torch.tensor([[e.x] for e in events])

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        return outputs.mean()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Label) -> float:
        return abs(prediction - label.y)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "toy"
    made.mkdir()
    (made / "pipeline.yaml").write_text(
        "name: toy\nmodel: model.py:Toy\nalerts: {rules: {error_drift: {enabled: false}}}\n"
    )
    (made / "model.py").write_text(MODEL)
    return made


def said(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(application(), list(arguments), prog_name="headrace")
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_a_reference_of_parquet_and_of_csv_is_the_same(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    xs, colours = rng.normal(size=6000).round(6).tolist(), rng.choice(["red", "green"], 6000).tolist()
    table = pa.table({"id": [f"k{i}" for i in range(6000)], "x": xs, "colour": colours, "more": xs})
    pq.write_table(table, tmp_path / "events.parquet")
    rows = [f"k{i},{x},{colour}" for i, (x, colour) in enumerate(zip(xs, colours, strict=True))]
    (tmp_path / "events.csv").write_text("\n".join(["id,x,colour", *rows, "bad,one,red", ""]))
    found = []
    for name in ("events.parquet", "events.csv"):
        output = tmp_path / f"{name}.json"
        out = said("drift", "reference", str(folder), "--input", str(tmp_path / name), "--output", str(output))
        assert "2 columns of 6,000 events: 2 steady" in out
        found.append({column: (one.kind, one.counts.tolist()) for column, one in read_reference(output).items()})
    assert found[0] == found[1]
    assert set(found[0]) == {"x", "colour"}


def test_too_few_events_and_no_such_file_are_errors_that_name_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("id,x,colour\na,1,red\n")
    out = said("drift", "reference", str(folder), "-i", str(tmp_path / "few.csv"), "-o", str(tmp_path / "r"), code=5)
    assert "few.csv" in out
    said("drift", "reference", str(folder), "-i", str(tmp_path / "no.parquet"), "-o", str(tmp_path / "r"), code=2)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"other\.json: not a reference"):
        read_reference(tmp_path / "other.json")


def test_rules_and_dashboard_are_those_of_the_pipeline(folder: Path) -> None:
    rules = yaml.safe_load(said("alerts", "prometheus", str(folder)))["groups"][1]["rules"]
    assert "HeadraceErrorDrift" not in {rule["alert"] for rule in rules}
    assert 'pipeline="toy"' in next(rule for rule in rules if rule["alert"] == "HeadraceFeatureDrift")["expr"]
    assert json.loads(said("alerts", "grafana"))["panels"]
    assert "error_drift" in said("alerts", "rules")
    assert "error_drift" not in {rule["name"] for rule in json.loads(said("alerts", "rules", str(folder), "--json"))}


def test_what_drifts_is_shown_with_its_limit_and_its_distribution() -> None:
    watch, river = Watch(WATCHED), River()
    river.feed(watch, 8000)
    river.feed(watch, 2500, shift=1.0)
    shown = msgspec.json.decode(msgspec.json.encode(snapshot(watch, 5.0)))
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    for part in (*drift_page(shown), *column_page(shown["columns"][:1]), *column_page(shown["columns"][-1:])):
        console.print(part)
    console.file.close()
    text = console.export_text()
    assert "drifted" in text
    assert "toy: 10,500 events, compared with the first 2,000 events" in text
    assert "reference" in text
    assert "learning" in text  # the other model's predictions
