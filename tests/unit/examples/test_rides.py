"""examples/rides: the same seed gives the same city, the drift changes what is true, and the model recovers."""

import sys
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.learning.progressive import progressive
from headrace.model.pipeline import Pipeline, load_pipeline

FOLDER = Path(__file__).parents[3] / "examples" / "rides"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline(FOLDER)


@pytest.fixture(scope="module")
def city(pipeline: Pipeline) -> Any:
    """The module city.py."""
    pipeline.source()
    return sys.modules[f"{type(pipeline.model).__module__.rpartition('.')[0]}.city"]


def encoded(pipeline: Pipeline, count: int, **options: Any) -> list[bytes]:
    return [msgspec.json.encode(r.value) for r in islice(pipeline.source().replay(**options), count)]


def test_the_same_seed_gives_the_same_records(pipeline: Pipeline) -> None:
    assert encoded(pipeline, 3000, seed=3) == encoded(pipeline, 3000, seed=3)
    assert encoded(pipeline, 3000, seed=3) != encoded(pipeline, 3000, seed=4)


def test_records_are_in_order_and_each_label_follows_its_event(pipeline: Pipeline) -> None:
    records = list(islice(pipeline.source().replay(demand=2.0), 20_000))
    assert all(a.at <= b.at for a, b in pairwise(records))
    asked = {r.value.ride_id: r.value for r in records if r.kind == "events"}
    ended = [r.value for r in records if r.kind == "labels"]
    assert len(asked) + len(ended) == len(records)
    assert len({a.ride_id for a in ended}) == len(ended) > 5000
    for arrival in ended:
        took = (arrival.arrived - asked[arrival.ride_id].requested) / 60
        assert took == pytest.approx(arrival.minutes, abs=0.001)


def test_some_requests_find_no_driver_and_never_get_a_label(pipeline: Pipeline) -> None:
    records = list(islice(pipeline.source().replay(demand=2.0), 30_000))
    ended = {r.value.ride_id for r in records if r.kind == "labels"}
    early = [r.value for r in records if r.kind == "events" and r.at < records[-1].at - 7200]
    given_up = [ride for ride in early if ride.ride_id not in ended]
    assert 0.001 < len(given_up) / len(early) < 0.3
    assert np.mean([r.surge for r in given_up]) > np.mean([r.surge for r in early])


def test_demand_scales_the_number_of_requests(pipeline: Pipeline) -> None:
    def requests(demand: float) -> int:
        records = pipeline.source().replay(demand=demand)
        start = next(records).at
        return sum(r.kind == "events" for r in takewhile(lambda r: r.at < start + 600, records))

    assert requests(8.0) / requests(2.0) == pytest.approx(4.0, rel=0.1)


def test_no_driver_has_two_rides_at_once(city: Any) -> None:
    rng = np.random.default_rng(1)
    riders, drivers, trips = city.Riders(rng, 3.0), city.Drivers(rng, 3.0), city.Trips(rng)
    busy: set[int] = set()
    for minute in range(120):
        ended = trips.end(minute * 60.0 + 60.0)
        drivers.positions(ended)
        busy -= set(ended.drivers.tolist())
        requests = riders.ask(minute * 60.0)
        pickups = drivers.pick_up(requests)
        taken = pickups.drivers[pickups.drivers >= 0].tolist()
        assert len(set(taken)) == len(taken)
        assert not busy & set(taken)
        busy |= set(taken)
        trips.begin(requests, pickups, 0, 0.0, drifted=False)


def test_the_drift_slows_the_south_and_nothing_else(city: Any) -> None:
    trips = city.Trips(np.random.default_rng(1))
    zones, destinations = (grid.ravel() for grid in np.meshgrid(np.arange(city.ZONES), np.arange(city.ZONES)))
    at = np.full(len(zones), 1_741_000_000.0)
    before = trips.minutes_per_km(at, zones, destinations, 0.0, drifted=False)
    after = trips.minutes_per_km(at, zones, destinations, 0.0, drifted=True)
    touched = city.SOUTH[zones] | city.SOUTH[destinations]
    np.testing.assert_allclose(after[touched] / before[touched], city.ROADWORKS)
    np.testing.assert_array_equal(after[~touched], before[~touched])


def test_the_drift_comes_when_it_is_told_to(pipeline: Pipeline) -> None:
    """The same rides until then; longer ones after."""
    still, drifting = (list(islice(pipeline.source().replay(demand=2.0, drift_at=at), 16_000)) for at in (-1.0, 0.5))
    start = still[0].at
    before = len(list(takewhile(lambda r: r.at < start + 1800, still)))
    assert still[: before - 10] == drifting[: before - 10]

    def late(records: list[Any]) -> float:
        asked = {r.value.ride_id: r.value.requested for r in records if r.kind == "events"}
        minutes = [r.value.minutes for r in records if r.kind == "labels" and asked[r.value.ride_id] > start + 2400]
        return float(np.mean(minutes))

    assert late(drifting) > 1.2 * late(still)


def test_the_model_learns_and_recovers_after_the_drift(pipeline: Pipeline) -> None:
    records = list(islice(pipeline.source().replay(drift_at=0.4), 100_000))
    errors = progressive(pipeline, records)
    ended = len(errors.by_name["model"])
    learned = {name: errors.mean(name, 6_000, 10_000) for name in errors.by_name}
    first = sum(r.kind == "events" and r.at < records[0].at + 0.4 * 3600 for r in records)
    made = dict(zip(errors.keys, errors.by_name["model"], strict=True))

    def of_rides(start: int, stop: int) -> float:
        """Of rides requested so many after the drift."""
        keys = (f"ride-{first + n}" for n in range(start, stop))
        return float(np.mean([made[key] for key in keys if key in made]))

    shaken = of_rides(0, 1000)
    recovered = {name: errors.mean(name, ended - 6_000) for name in errors.by_name}
    assert learned["model"] < 0.8 * learned["mean speed"] < learned["median ride"]
    assert shaken > 1.5 * learned["model"]
    assert of_rides(5_000, 10_000) < 0.75 * shaken
    assert recovered["model"] < 0.8 * recovered["mean speed"] < recovered["median ride"]
    assert recovered["model"] < 0.75 * shaken
