"""A city's rides: three parts that exchange events, see city.py, as events and labels in order of time.

A request is an event; a trip's end is its label, minutes later. A request that finds no driver is given up: an event
whose label never comes.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar

import msgspec
import numpy as np

from headrace import Source, Timed

from .city import MINUTE, Drivers, Ends, Ints, Pace, Requests, Riders, Trips, Weather, clock
from .model import Arrival, Ride

START = datetime(2025, 3, 3, 10, tzinfo=UTC).timestamp()  # a Monday, between the rush hours; the city's clocks show UTC
# Seconds that the city has been alive by then, so that its drivers are where they usually are; those rides are < 0.
UNSEEN = 3600.0


class City(Source):
    """Requests (`Ride`) and trips' ends (`Arrival`), for ever; the same for the same options."""

    options: ClassVar = {"seed": 1, "demand": 10.0, "drift_at": -1.0}
    """`demand`: requests a second, the mean of a week. `drift_at`: hours from the start to the drift; below 0 never."""

    def replay(self, **options: Any) -> Iterator[Timed]:
        """Each turn of the loop is one minute of the city."""
        chosen = {**self.options, **options}
        rng = np.random.default_rng(chosen["seed"])
        weather, riders = Weather(rng), Riders(rng, chosen["demand"])
        drivers, trips = Drivers(rng, chosen["demand"]), Trips(rng)
        drift = START + chosen["drift_at"] * 3600 if chosen["drift_at"] >= 0 else np.inf
        now, ride = START - UNSEEN, 0
        while True:
            rain, pace = weather.minute(), trips.pace()
            ended = trips.end(now + MINUTE)
            requests = riders.ask(now)
            free = drivers.positions(ended)
            pickups = drivers.pick_up(requests)
            trips.begin(requests, pickups, ride if now >= START else -len(requests.at), rain, drifted=now >= drift)
            if now >= START:
                yield from _in_order(requests, _events(requests, ride, free, rain, pace), ended)
                ride += len(requests.at)
            now += MINUTE

    def sample(self, count: int) -> Sequence[msgspec.Struct]:
        """The first requests."""
        return list(islice((record.value for record in self.replay() if record.kind == "events"), count))


def _events(requests: Requests, first: int, free: Ints, rain: float, pace: Pace) -> list[Ride]:
    """Requests with what the platform knows of their zone: free drivers, and the price that follows from both."""
    zones, n = requests.zones, len(requests.zones)
    wanted = np.bincount(zones, minlength=len(free))
    surge = np.clip(1 + np.round(wanted / (free + 1) * 2, 1) / 2, 1, 3)
    hour, weekday = clock(requests.at)
    columns = (
        [f"ride-{i}" for i in range(first, first + n)], requests.at.tolist(), zones.tolist(),
        requests.destinations.tolist(),
        requests.km.tolist(), np.round(hour, 3).tolist(), weekday.tolist(), [rain] * n, free[zones].tolist(),
        surge[zones].tolist(), [pace.city] * n, pace.of(requests).tolist(),
    )  # fmt: skip
    return list(map(Ride, *columns))


def _in_order(requests: Requests, events: list[Ride], ended: Ends) -> Iterator[Timed]:
    """Events and labels, both in order of time, as one; trips from before the start are left out."""
    ended = ended.take(ended.rides >= 0)
    ids = [f"ride-{i}" for i in ended.rides.tolist()]
    labels = map(Arrival, ids, ended.minutes.tolist(), ended.at.tolist())
    at = np.concatenate([requests.at, ended.at])
    times, values, split = at.tolist(), [*events, *labels], len(events)
    for i in np.argsort(at, kind="stable").tolist():
        yield Timed(times[i], "events" if i < split else "labels", values[i])
