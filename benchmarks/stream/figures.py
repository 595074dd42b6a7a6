"""Figures from what was observed: rates, percentiles, slopes, ratios. No clients, no clock."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

FIRST, LAST = 0.1, 1.0
"""The part of a backlog over which a rate is taken: starting up is before it."""


@dataclass(frozen=True)
class Figures:
    """What one contestant did with one backlog."""

    records_per_s: float
    """From the first commit past a tenth of the backlog to the last one before its end."""
    cpu_us_per_record: float
    """User and system time of its processes over the same records, the broker's not included."""
    rss_mib: float
    """The most that was resident."""
    start_s: float
    """From the process's start to its first commit."""

    def as_dict(self) -> dict[str, float]:
        """Rounded, for JSON."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Sample:
    """What was seen of a contestant at one moment."""

    at_s: float
    """Since the process's start."""
    done: int
    """Records below the committed offsets."""
    cpu_s: float
    rss_bytes: int


def figures(samples: Sequence[Sample], records: int) -> Figures:
    """Figures of a run whose samples, one a commit, end when all `records` are done.

    The last sample is left out of the rate where there are others: a commit by a timer comes later than the work is
    done.

    Raises:
        ValueError: nothing was done between the window's ends.
    """
    window = [s for s in samples if records * FIRST <= s.done < records * LAST]
    if len(window) < 2:
        window = [*window[:1], samples[-1]]
    first, last = window[0], window[-1]
    worked, took = last.done - first.done, last.at_s - first.at_s
    if worked <= 0 or took <= 0:
        raise ValueError(f"{records} records were committed at once: too small a backlog for a rate")
    started = next(s for s in samples if s.done)
    return Figures(
        worked / took,
        (last.cpu_s - first.cpu_s) / worked * 1e6,
        max(s.rss_bytes for s in samples) / 2**20,
        started.at_s,
    )


@dataclass(frozen=True)
class Memory:
    """The line of resident memory over a long run, between the medians of its first and of its last quarter."""

    records: int
    first_mib: float
    last_mib: float
    most_mib: float
    spread_mib: float
    """Of the samples within the last quarter, from the 5th to the 95th percentile: the noise that a slope must exceed.
    """
    slope_mib_per_million: float

    @property
    def flat(self) -> bool:
        """Whether the line rose by no more than the samples differ among themselves."""
        return self.last_mib - self.first_mib <= max(self.spread_mib, 1.0)

    def as_dict(self) -> dict[str, Any]:
        """Rounded, for JSON."""
        return {**{name: round(value, 2) for name, value in asdict(self).items()}, "flat": self.flat}

    def told(self) -> str:
        """For people."""
        line = (
            f"{self.first_mib:.0f} MiB in the first quarter, {self.last_mib:.0f} in the last, "
            f"{self.most_mib:.0f} at most"
        )
        slope = f"{self.slope_mib_per_million:+.2f} MiB per million records"
        return f"memory over {self.records:,} records: {line}; {slope}, {'flat' if self.flat else 'not flat'}"


def memory(samples: Sequence[Sample], records: int) -> Memory:
    """Resident memory over a run; the first tenth, in which buffers fill, is not counted.

    Raises:
        ValueError: there is no sample in one of the quarters.
    """
    steady = [(s.done, s.rss_bytes / 2**20) for s in samples if s.done >= records * FIRST]
    quarter = (records - records * FIRST) / 4
    first = [mib for done, mib in steady if done <= records * FIRST + quarter]
    last = [mib for done, mib in steady if done >= records - quarter]
    if not first or not last:
        raise ValueError(f"{len(samples)} samples over {records:,} records are too few for a line of memory")
    low, high = np.percentile(last, [5, 95])
    rise = statistics.median(last) - statistics.median(first)
    between = 3 * quarter / 1e6  # from the middle of the first quarter to the middle of the last, in millions
    return Memory(
        records, statistics.median(first), statistics.median(last), max(mib for _, mib in steady), float(high - low),
        rise / between,
    )  # fmt: skip


def median(runs: Sequence[Figures]) -> Figures:
    """Of each figure on its own."""
    return Figures(*(statistics.median(getattr(run, field.name) for run in runs) for field in fields(Figures)))


def ratio(ours: Sequence[Figures], theirs: Sequence[Figures]) -> float:
    """Ours by theirs: the median over the rounds that both ran, one after the other."""
    return round(statistics.median(o.records_per_s / t.records_per_s for o, t in zip(ours, theirs, strict=False)), 3)


@dataclass(frozen=True)
class Latency:
    """One contestant at one offered rate: percentiles in ms over the time after the warm-up."""

    rate: float
    offered: int
    read: int
    """Equal to `offered` where nothing was lost or doubled and the contestant kept up."""
    p50: float
    p99: float
    p999: float
    worst: float
    offer_late_p99: float
    offer_late_worst: float
    """How late the producer's own schedule ran, in ms."""
    offer_cores: float
    reader_cores: float
    """Processor time of the two instruments by wall time."""

    def as_dict(self) -> dict[str, float]:
        """Rounded, for JSON."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def percentiles(took_ms: Sequence[float]) -> tuple[float, float, float, float]:
    """p50, p99, p99.9 and the worst.

    Raises:
        ValueError: there is nothing.
    """
    if not len(took_ms):
        raise ValueError("no latencies: nothing was read")
    p50, p99, p999, worst = np.percentile(np.asarray(took_ms), [50, 99, 99.9, 100])
    return float(p50), float(p99), float(p999), float(worst)
