"""Jobs as MLflow runs in a database of our own: what is logged, once, and what a dead server costs."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings, load
from headrace.tracking.plots import draw
from headrace.tracking.runs import history_of, runs_of, track
from headrace.tracking.store import TrackingError, address, client, flat
from headrace.training.job import Report, TrainingJob
from services.trainer.offline.service import run_job
from tests.line_kit import write_toy


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database, which takes MLflow some seconds to make."""
    return address("local", tmp_path_factory.mktemp("tracking") / "runs")


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Report]:
    def do(name: str, **asked: Any) -> Report:
        rng = random.Random(5)
        xs = [rng.uniform(-1, 1) for _ in range(300)]
        for which, field in (("events", "x"), ("labels", "y")):
            rows = [{"id": f"k{i}", field: x if field == "x" else 2 * x} for i, x in enumerate(xs)]
            (tmp_path / f"{which}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        job = TrainingJob(
            pipeline=str(write_toy(tmp_path / "toy", tmp_path.name.replace("_", "-")[:40])),
            folder=str(tmp_path / name), data="files", events=str(tmp_path / "events.jsonl"),
            labels=str(tmp_path / "labels.jsonl"), epochs=3, **asked,
        )  # fmt: skip
        return run_job(job, load(ServiceSettings, "test"), lambda *_: None, lambda: None)

    return do


def test_a_job_is_a_run_with_settings_metrics_data_and_weights(uri: str, train: Callable[..., Report]) -> None:
    reports = [train(name, track=uri, settings={"learning_rate": rate}) for name, rate in (("a", 0.01), ("b", 0.05))]
    runs = runs_of(uri, reports[0].model)
    assert [run.name for run in runs] == ["b", "a"]
    assert [run.id for run in reversed(runs)] == [report.run for report in reports]
    assert [run.settings["learning_rate"] for run in runs] == ["0.05", "0.01"]
    assert [run.settings["schedule.kind"] for run in runs] == ["constant"] * 2
    for run, report in zip(reversed(runs), reports, strict=True):
        assert run.validation == pytest.approx(report.parts["validation"].error)
        assert run.test == pytest.approx(report.parts["test"].error)
        assert json.loads(run.data) == report.data
        assert len(run.code) == 32
        assert [epoch for epoch, _ in history_of(uri, run.id, "epoch.validation")] == [1, 2, 3]
        (artifact,) = client(uri).list_artifacts(run.id)
        assert artifact.path == "weights.safetensors"


def test_a_job_that_is_logged_again_stays_one_run(uri: str, train: Callable[..., Report]) -> None:
    report = train("once", track=uri)
    assert track(report, uri, "once", {}, []) == report.run
    assert len(runs_of(uri, report.model)) == 1


def test_a_store_that_does_not_answer_costs_the_run_and_not_the_job(
    train: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    report = train("dead", track="http://user:secret@127.0.0.1:9")
    assert report.run.startswith("not tracked: tracking at http://127.0.0.1:9: ")
    assert Path(report.weights).exists()
    with pytest.raises(TrackingError, match="tracking at"):
        runs_of("http://127.0.0.1:9", "toy")


def test_a_pipeline_without_runs_has_none(uri: str) -> None:
    assert runs_of(uri, "nobody") == []


@pytest.mark.parametrize("wanted", ["here", "file:///tmp/x", "ftp://x"])
def test_an_address_that_is_none_is_refused(wanted: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected local"):
        address(wanted, tmp_path)


def test_names_are_flat() -> None:
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}


def test_runs_are_drawn(tmp_path: Path) -> None:
    draw({"one": [(1, 0.5), (2, 0.4)]}, {"one": 0.4, "two": 0.6}, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
