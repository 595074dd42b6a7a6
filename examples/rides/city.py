"""The city: riders, drivers, trips and the weather, each a part of its own, a minute at a time in arrays.

    Riders ──Requests──▶ Drivers ──Pickups──▶ Trips ──Ends──▶ Drivers, free again where the trip ended

The concept drift: the southern half is dug up, and every kilometre of a ride that starts or ends there takes 1.6 times
as long. No field of a ride says which streets are dug up; a model has to learn it again.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Rng = np.random.Generator

SIDE = 8
ZONES = SIDE * SIDE
ZONE_KM = 1.2
MINUTE = 60.0
SHORTEST = 2.0  # minutes; longer than a turn, so that no trip ends in the minute in which it began
DRIVERS = 2400.0  # for one request a second
ROADWORKS = 1.6
FEW_KM = 20.0

ROW, COLUMN = np.divmod(np.arange(ZONES), SIDE)
SOUTH = ROW < SIDE // 2  # rows count from the south
QUARTERS = 4
QUARTER = ROW // (SIDE // 2) * 2 + COLUMN // (SIDE // 2)
FROM_CENTRE = np.hypot(ROW - 3.5, COLUMN - 3.5)
STEP = (SIDE * np.sign(ROW - ROW[:, None]) + np.sign(COLUMN - COLUMN[:, None])).astype(np.int16)  # one zone on the way
APART = np.hypot(ROW[:, None] - ROW, COLUMN[:, None] - COLUMN)
NEAR = np.exp(-APART / 4.0)
ROWS = np.arange(ZONES)[:, None]


def between(zones: Ints, destinations: Ints) -> Ints:
    """Which pair of quarters a trip is between, from 0 to 15."""
    pair: Ints = QUARTER[zones] * QUARTERS + QUARTER[destinations]
    return pair


def clock(at: Floats) -> tuple[Floats, Ints]:
    """Hour of the day and day of the week (0 is Monday) of epoch seconds."""
    return at / 3600 % 24, ((at // 86400 + 3) % 7).astype(np.int64)


class Requests(NamedTuple):
    """Riders' requests of one minute, in order of time."""

    at: Floats
    zones: Ints
    destinations: Ints
    km: Floats


class Pickups(NamedTuple):
    """For every request its driver, -1 for none, and the minutes that the rider waits."""

    drivers: Ints
    waits: Floats


class Ends(NamedTuple):
    """Trips that ended, in order of time."""

    at: Floats
    rides: Ints
    minutes: Floats
    km: Floats
    drivers: Ints
    zones: Ints

    def take(self, chosen: "Ints | NDArray[np.bool_]") -> "Ends":
        """Those at the given places, or where the mask is true."""
        return Ends(*(column[chosen] for column in self))


class Pace(NamedTuple):
    """Minutes a kilometre: of the city's trips that ended lately, and of vehicles now driving between its quarters."""

    city: float
    between: Floats

    def of(self, requests: "Requests") -> Floats:
        """Between the quarters of each request."""
        return self.between[between(requests.zones, requests.destinations)]


class Weather:
    """Rain comes every few hours and stays for one."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._wet, self._strength, self._rain = False, 0.0, 0.0

    def minute(self) -> float:
        """Millimetres in the last hour."""
        if self._rng.random() < (1 / 60 if self._wet else 1 / 240):
            self._wet, self._strength = not self._wet, self._rng.gamma(2.0, 2.0)
        self._rain += 0.1 * ((self._strength if self._wet else 0.0) - self._rain)
        return round(self._rain, 2)


class Riders:
    """Ask for rides: more at rush hours, into the centre in the morning and out of it in the evening."""

    def __init__(self, rng: Rng, demand: float) -> None:
        self._rng, self._demand = rng, demand
        self._homes = rng.gamma(3.0, 1.0, ZONES) * (1 + FROM_CENTRE / 4)
        self._offices = rng.gamma(3.0, 1.0, ZONES) * np.exp(-FROM_CENTRE / 1.8) * 4

    def ask(self, now: float) -> Requests:
        """The requests of the minute that starts at `now`."""
        hour, weekday = (float(x[0]) for x in clock(np.array([now])))
        n = self._rng.poisson(self._demand * MINUTE * _busy(hour, weekday))
        at = np.round(now + np.sort(self._rng.random(n)) * MINUTE, 3)
        outward = 0.5 - 0.5 * np.cos((hour - 6) / 24 * 2 * np.pi)  # 0 in the morning, 1 in the evening
        leaving = self._homes * (1 - outward) + self._offices * outward + 0.3
        heading = self._homes * outward + self._offices * (1 - outward) + 0.3
        zones = _draw(self._rng, np.cumsum(leaving), n)
        reach = np.cumsum(heading * NEAR, axis=1)
        ladder = (reach / reach[:, -1:] + ROWS).ravel()  # one rising line: zone 3's destinations lie between 3 and 4
        destinations = np.minimum(
            np.searchsorted(ladder, zones + self._rng.random(n), side="right") - zones * ZONES, ZONES - 1
        )
        km = 1.25 * ZONE_KM * np.hypot(APART[zones, destinations], self._rng.uniform(0.3, 0.9, n))
        return Requests(at, zones, destinations, np.round(km, 2))


def _busy(hour: float, weekday: float) -> float:
    """Demand as a multiple of the week's mean."""
    if weekday >= 5:
        return 0.45 + 0.9 * float(np.exp(-(((hour - 20) / 5) ** 2)))
    rush = np.exp(-(((hour - 8.3) / 1.3) ** 2)) + np.exp(-(((hour - 17.8) / 1.8) ** 2))
    return 0.45 + 1.6 * float(rush) + 0.5 * float(np.exp(-(((hour - 13) / 3) ** 2)))


def _draw(rng: Rng, cumulative: Floats, n: int) -> Ints:
    """N indices, drawn by cumulative weights [K]."""
    drawn: Ints = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return drawn


class Drivers:
    """Each is in a zone and free or busy; the free ones drift to where riders ask."""

    def __init__(self, rng: Rng, demand: float) -> None:
        self._rng = rng
        self._zone = rng.integers(
            0, ZONES, int(DRIVERS * demand) + ZONES, dtype=np.int16
        )  # small: it is sorted every minute
        self._free = np.ones(len(self._zone), dtype=bool)
        self._asked = np.ones(ZONES)
        # This minute's free drivers, zone after zone: the next to take of each zone, and how many are left there.
        self._line: Ints = np.empty(0, dtype=np.int64)
        self._next: Ints = np.zeros(ZONES, dtype=np.int64)
        self._left: Ints = np.zeros(ZONES, dtype=np.int64)

    def positions(self, ended: Ends) -> Ints:
        """Free drivers in every zone, once trips that ended have freed theirs and some of the idle have moved on."""
        self._zone[ended.drivers] = ended.zones
        self._free[ended.drivers] = True
        idle = np.flatnonzero(self._free)
        moving = idle[self._rng.random(len(idle)) < 0.25]
        target = _draw(self._rng, np.cumsum(self._asked), len(moving))
        self._zone[moving] += STEP[self._zone[moving], target]
        self._line = idle[np.argsort(self._zone[idle], kind="stable")]
        self._left = np.bincount(self._zone[idle], minlength=ZONES)
        self._next = np.cumsum(self._left) - self._left
        return self._left.copy()

    def pick_up(self, requests: Requests) -> Pickups:
        """The free drivers of a zone go to its requests in order of time; then those of the zones beside it."""
        n, free = len(requests.zones), self._left.copy()
        self._asked = 0.9 * self._asked + np.bincount(requests.zones, minlength=ZONES) + 0.01
        drivers, waits = np.full(n, -1), np.zeros(n)
        row, column = np.divmod(requests.zones, SIDE)
        for north, east, away in ((0, 0, 0.0), (0, 1, 2.0), (0, -1, 2.0), (1, 0, 2.5), (-1, 0, 2.5)):
            left = np.flatnonzero(drivers < 0)
            if not len(left):
                break
            there = np.clip(row[left] + north, 0, SIDE - 1) * SIDE + np.clip(column[left] + east, 0, SIDE - 1)
            drivers[left] = self._take(there)
            waits[left] = away + 0.5 + 5.0 / np.sqrt(1.0 + free[there])
        return Pickups(drivers, waits * self._rng.gamma(16.0, 1 / 16, n))

    def _take(self, zones: Ints) -> Ints:
        """A free driver of each zone for each entry; -1 where there are no more."""
        order = np.argsort(zones.astype(np.int16), kind="stable")
        wanted = np.bincount(zones, minlength=ZONES)
        rank = np.empty(len(zones), dtype=np.int64)  # of each entry among those of its zone, from 0
        rank[order] = np.arange(len(zones)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        has = rank < self._left[zones]
        found = np.full(len(zones), -1)
        found[has] = self._line[self._next[zones[has]] + rank[has]]
        taken = np.minimum(wanted, self._left)
        self._next, self._left = self._next + taken, self._left - taken
        self._free[found[has]] = False
        return found


class Trips:
    """Take as long as zones, hour, rain and roadworks make them, and end."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._slow = 1.7 * rng.uniform(0.75, 1.25, ZONES) * (1 + 0.8 * np.exp(-FROM_CENTRE / 2))  # minutes a km
        self._minutes, self._km = 2.5, 1.0  # of trips that ended lately
        self._driving = np.zeros((2, QUARTERS**2))  # between quarters, in the last minutes or so: minutes and km
        self._under_way = Ends(*(np.empty(0, dtype=t) for t in (float, int, float, float, int, int)))

    def begin(self, requests: Requests, pickups: Pickups, first: int, rain: float, *, drifted: bool) -> None:
        """The requests that have a driver get under way; the first request of the minute is ride number `first`."""
        served = np.flatnonzero(pickups.drivers >= 0)
        at, zones, destinations = requests.at[served], requests.zones[served], requests.destinations[served]
        km, drivers = requests.km[served], pickups.drivers[served]
        per_km = self.minutes_per_km(at, zones, destinations, rain, drifted=drifted)
        ride = km * per_km * self._rng.lognormal(0.0, 0.12, len(served))
        minutes: Floats = np.maximum(SHORTEST, pickups.waits[served] + ride).round(2)
        begun = Ends((at + minutes * MINUTE).round(3), first + served, minutes, km, drivers, destinations)
        where = between(zones, destinations)
        self._driving = 0.6 * self._driving + [np.bincount(where, by, QUARTERS**2) for by in (ride, km)]
        self._under_way = Ends(*(np.concatenate(pair) for pair in zip(self._under_way, begun, strict=True)))

    def minutes_per_km(self, at: Floats, zones: Ints, destinations: Ints, rain: float, *, drifted: bool) -> Floats:
        """What a kilometre takes, before chance."""
        hour, weekday = clock(at)
        rush = 0.4 * np.exp(-(((hour - 8.3) / 1.2) ** 2)) + 0.5 * np.exp(-(((hour - 17.8) / 1.6) ** 2))
        slow = (self._slow[zones] + self._slow[destinations]) / 2
        slow *= (1 + rush * (weekday < 5)) * (1 + 0.04 * min(rain, 8.0))
        return slow * np.where(SOUTH[zones] | SOUTH[destinations], ROADWORKS, 1.0) if drifted else slow

    def end(self, before: float) -> Ends:
        """The trips that end before the given time."""
        ends = self._under_way.at < before
        ended, self._under_way = self._under_way.take(ends), self._under_way.take(~ends)
        self._minutes = 0.8 * self._minutes + ended.minutes.sum()
        self._km = 0.8 * self._km + ended.km.sum()
        return ended.take(np.argsort(ended.at, kind="stable"))

    def pace(self) -> Pace:
        """Of trips that ended, and of vehicles that set out, in the last few minutes.

        The city's is from request to destination. That between quarters is the one at which vehicles drive, by their
        positions; where there are few of them, that of all vehicles stands for the rest of `FEW_KM`.
        """
        city, (minutes, km) = float(self._minutes / self._km), self._driving
        mean = minutes.sum() / km.sum() if km.any() else city
        return Pace(round(city, 3), ((minutes + mean * FEW_KM) / (km + FEW_KM)).round(3))
