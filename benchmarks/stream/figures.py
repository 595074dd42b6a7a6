"""Figures from what was observed: rates, percentiles, slopes, ratios. No clients, no clock."""

import statistics
from collections.abc import Mapping, Sequence
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

    The last sample is left out of the rate where there are others: a commit by a timer comes later than the work is done.

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
        worked / took, (last.cpu_s - first.cpu_s) / worked * 1e6, max(s.rss_bytes for s in samples) / 2**20, started.at_s
    )


def memory_slope(samples: Sequence[Sample], records: int) -> float:
    """Growth of resident memory in MiB per million records: from the first quarter's median to the last quarter's."""
    quarters = [
        [s.rss_bytes for s in samples if low <= s.done / records <= high] for low, high in ((FIRST, 0.25 + FIRST), (0.75, 1.0))
    ]
    if not all(quarters):
        raise ValueError("no samples in the first or the last quarter")
    first, last = (statistics.median(found) for found in quarters)
    between = (0.875 - (FIRST + 0.125)) * records / 1e6  # from the middle of one part to the middle of the other
    return (last - first) / 2**20 / between


def median(runs: Sequence[Figures]) -> Figures:
    """Of each figure on its own."""
    return Figures(*(statistics.median(getattr(run, field.name) for run in runs) for field in fields(Figures)))


def ratio(ours: Sequence[Figures], theirs: Sequence[Figures]) -> float:
    """Ours by theirs: the median over rounds, each of them a run of both, one after the other."""
    return round(statistics.median(o.records_per_s / t.records_per_s for o, t in zip(ours, theirs, strict=True)), 3)


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


def as_json(figures: Mapping[str, Mapping[str, Any]], ratios: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """What build/bench/stream.json holds."""
    return {**more, "figures": dict(figures), "ratios": dict(ratios)}
