"""False alarms and delays of the detectors, on seeded streams whose changes are known.

`stationary`: 20 columns that do not drift, and errors and scores that do not: how often the detectors with the default
limits raise an alert. `delays`: how many events after a change of one column its alert comes. `rides`: the city of
examples/rides, its week as a reference; then weeks without drift, and the drift of examples/rides.
"""

import importlib
import os
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.watching.streams import CHANGES, SPECS, Stream
from headrace.drift.changes import MeanChange
from headrace.drift.limits import Limits
from headrace.drift.reference import learn
from headrace.drift.schema import Column, ColumnSpec
from headrace.drift.windows import Group

EVENTS = 10_000_000
STREAMS = 4
RIDES = 2_000_000
SEEDS = 10
CHUNK = 20_000
WITHIN = 2000
EXAMPLES = Path(__file__).parents[2] / "examples"
ERROR_LIMITS: dict[str, Any] = {"delta": 1e-8, "measure": "ratio", "effect": 1.5, "learn": 2000, "adopt": 200_000}
SCORE_LIMITS: dict[str, Any] = {
    "delta": 1e-8, "measure": "deviations", "effect": 0.5, "learn": 20_000, "adopt": 200_000, "thin": 10,
}  # fmt: skip


def measure(*, full: bool) -> dict[str, Any]:
    """The part's figures, each piece in a process of its own. The long form has five times as many rides."""
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        rides = pool.submit(measure_rides, RIDES * (5 if full else 1))
        delays = pool.submit(measure_delays, SEEDS)
        still = together(list(pool.map(stationary, [EVENTS // STREAMS] * STREAMS, range(1, STREAMS + 1))))
        return figures(still, delays.result(), rides.result())


def figures(still: dict[str, Any], delays: dict[str, Any], rides: dict[str, Any]) -> dict[str, Any]:
    """The pieces, and whether they reach the goals."""
    alarms = still["false_alarms"] / still["events"] * 1e7
    most = [delay["most"] for delay in delays.values() if delay["found"] == 1]
    return {
        "stationary": still, "delays": delays, "rides": rides,
        "goal": {"false_alarms_in_10_m": 1, "events": WITHIN},
        "reached": alarms <= 1 and len(most) == len(delays) and max(most) <= WITHIN,
    }  # fmt: skip


def together(streams: list[dict[str, Any]]) -> dict[str, Any]:
    """Several stationary streams as one figure."""
    first, *_ = streams
    return {
        **first, "streams": len(streams), "events": sum(one["events"] for one in streams),
        "false_alarms": sum(one["false_alarms"] for one in streams),
        "by_alert": {f"seed {i}": one["by_alert"] for i, one in enumerate(streams, start=1) if one["by_alert"]},
    }  # fmt: skip


def stationary(events: int, seed: int) -> dict[str, Any]:
    """Alerts started on a stream that does not drift."""
    stream, group = Stream(seed), Group(SPECS, Limits())
    errors, scores = MeanChange(**ERROR_LIMITS), MeanChange(**SCORE_LIMITS)
    alarms: dict[str, int] = {}
    for _ in range(events // CHUNK):
        columns = stream.take(CHUNK)
        for change in group.take(columns):
            if change.firing:
                name = f"{change.column} {change.what}"
                alarms[name] = alarms.get(name, 0) + 1
        alarms["error"] = alarms.get("error", 0) + sum(m.firing for m in errors.take(stream.errors(CHUNK)))
        alarms["score"] = alarms.get("score", 0) + sum(m.firing for m in scores.take(columns[0]))
    known = {spec.name: one for spec, one in zip(SPECS, group.references, strict=True) if one is not None}
    return {
        "events": events, "columns": len(SPECS), "false_alarms": sum(alarms.values()),
        "by_alert": {name: count for name, count in alarms.items() if count},
        "states": {name: one.state for name, one in known.items() if one.state != "steady"},
        "limits_psi_short": {name: round(one.psi[0], 3) for name, one in known.items()},
        "limits_ks_short": {name: round(one.ks[0], 3) for name, one in known.items() if one.kind == "number"},
    }  # fmt: skip


def measure_delays(seeds: int) -> dict[str, Any]:
    """Events from a change to its alert, over several seeds."""
    found: dict[str, list[int]] = {change.name: [] for change in CHANGES}
    found["error x 1.6"] = []
    for seed in range(seeds):
        for name, delay in _delays(100 + seed).items():
            found[name].append(delay)
    return {
        name: {
            "median": statistics.median(its) if its else None, "most": max(its, default=None),
            "found": len([d for d in its if d <= 10 * WITHIN]) / seeds,
        }
        for name, its in ((n, [d for d in all_ if d >= 0]) for n, all_ in found.items())
    }  # fmt: skip


def _delays(seed: int) -> dict[str, int]:
    """Of every change, which begin at the same event and each in a column of its own; -1 where none was found."""
    rng, stream, group = np.random.default_rng(seed), Stream(seed), Group(SPECS, Limits())
    errors = MeanChange(**ERROR_LIMITS)
    before = 60_000 + int(rng.integers(0, 1000))  # anywhere within a block
    group.take(stream.take(before))
    errors.take(stream.errors(before))
    columns, places = stream.take(10 * WITHIN), {spec.name: i for i, spec in enumerate(SPECS)}
    for change in CHANGES:
        columns[places[change.column]] = change.apply(columns[places[change.column]], rng)
    first: dict[str, int] = {}
    for found in group.take(columns):
        if found.firing:
            first.setdefault(found.column, found.at - before)
    delays = {change.name: first.get(change.column, -1) for change in CHANGES}
    risen = [m.at - before for m in errors.take(stream.errors(10 * WITHIN) * 1.6) if m.firing]
    return {**delays, "error x 1.6": risen[0] if risen else -1}


class Minute(NamedTuple):
    """A minute of the city: columns of its requests, and errors of the trips that ended, with the requests' drift."""

    columns: list[Column]
    features: np.ndarray
    """Of the trips that ended: what a frozen predictor knows [N, 4]."""
    took: np.ndarray


RIDE_SPECS = (
    ColumnSpec("zone", "number", whole=True), ColumnSpec("destination", "number", whole=True),
    ColumnSpec("distance_km", "number"), ColumnSpec("hour", "number"), ColumnSpec("weekday", "number", whole=True),
    ColumnSpec("rain_mm", "number"), ColumnSpec("drivers", "number", whole=True), ColumnSpec("surge", "number"),
    ColumnSpec("pace", "number"),
)  # fmt: skip


def measure_rides(events: int, demand: float = 2.0) -> dict[str, Any]:
    """The city: a week as the reference, `events` without drift, then the drift."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        city = importlib.import_module("rides.city")
        start = importlib.import_module("rides.source").START
    finally:
        sys.path.remove(str(EXAMPLES))
    week, days = 7 * 24 * 60, int(events / demand / 86_400) + 1
    minutes = _minutes(city, start, demand, drift_minute=week + days * 1440)
    first = [next(minutes) for _ in range(week)]
    columns = [np.concatenate(part) for part in zip(*(minute.columns for minute in first), strict=True)]
    limits = Limits()
    references = {
        spec.name: learn(spec, values, limits, len(RIDE_SPECS))
        for spec, values in zip(RIDE_SPECS, columns, strict=True)
    }
    features, took = np.concatenate([m.features for m in first]), np.concatenate([m.took for m in first])
    weights = np.linalg.lstsq(features, took, rcond=None)[0]
    group = Group(RIDE_SPECS, limits, references=references)
    errors = MeanChange(**{**ERROR_LIMITS, "learn": len(took)})
    errors.take(np.abs(features @ weights - took))
    del first, columns, features, took
    alarms: dict[str, int] = {}
    taken = labelled = 0
    for _ in range(days * 1440):
        minute = next(minutes)
        taken, labelled = taken + len(minute.columns[0]), labelled + len(minute.took)
        for name in _alarmed(group, errors, minute, weights):
            alarms[name] = alarms.get(name, 0) + 1
    drift = _rides_drift(minutes, group, errors, weights)
    return {
        "reference_events": int(references["zone"].counts.sum()), "events": taken, "labelled": labelled,
        "false_alarms": sum(alarms.values()), "by_alert": alarms, "drift": drift,
        "states": {name: one.state for name, one in references.items()},
        "limits_psi": {n: [round(x, 3) for x in one.psi] for n, one in references.items() if one.state == "steady"},
    }  # fmt: skip


def _rides_drift(minutes: Iterator[Minute], group: Group, errors: MeanChange, weights: np.ndarray) -> dict[str, Any]:
    """Events and labelled predictions from the drift's first request to each alert."""
    taken = labelled = 0
    first: dict[str, Any] = {}
    for _ in range(240):
        minute = next(minutes)
        taken, labelled = taken + len(minute.columns[0]), labelled + len(minute.took)
        for name in _alarmed(group, errors, minute, weights):
            first.setdefault(name, {"events": taken, "labelled": labelled})
    return first


def _alarmed(group: Group, errors: MeanChange, minute: Minute, weights: np.ndarray) -> list[str]:
    found = [f"{c.column} {c.what}" for c in group.take(minute.columns) if c.firing]
    if len(minute.took):
        wrong = np.abs(minute.features @ weights - minute.took)
        found += ["error" for moved in errors.take(wrong) if moved.firing]
    return found


def _minutes(city: Any, start: float, demand: float, drift_minute: int) -> Iterator[Minute]:
    """The parts of the city as examples/rides/source.py puts them together, in arrays."""
    rng = np.random.default_rng(1)
    weather, riders = city.Weather(rng), city.Riders(rng, demand)
    drivers, trips = city.Drivers(rng, demand), city.Trips(rng)
    known: dict[int, tuple[float, float]] = {}
    ride, number = 0, 0
    while True:
        now = start + number * 60.0
        rain, pace = weather.minute(), trips.pace()
        ended = trips.end(now + 60.0)
        requests = riders.ask(now)
        free = drivers.positions(ended)
        pickups = drivers.pick_up(requests)
        trips.begin(requests, pickups, ride, rain, drifted=number >= drift_minute)
        count = len(requests.at)
        wanted = np.bincount(requests.zones, minlength=len(free))
        surge = np.clip(1 + np.round(wanted / (free + 1) * 2, 1) / 2, 1, 3)
        hour, weekday = city.clock(requests.at)
        columns = [
            requests.zones, requests.destinations, requests.km, hour, weekday, np.full(count, rain),
            free[requests.zones], surge[requests.zones], np.full(count, pace),
        ]  # fmt: skip
        known.update(
            zip(range(ride, ride + count), zip(requests.km.tolist(), [pace] * count, strict=True), strict=True)
        )
        rows = np.array([known.pop(i) for i in ended.rides.tolist()]).reshape(-1, 2)
        features = np.column_stack([rows[:, 0] * rows[:, 1], rows[:, 0], rows[:, 1], np.ones(len(rows))])
        yield Minute([np.asarray(c, dtype=np.float64) for c in columns], features, ended.minutes)
        ride, number = ride + count, number + 1
