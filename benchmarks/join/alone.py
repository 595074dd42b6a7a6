"""The join's state without Kafka: how fast it is, and how its memory does over many windows."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.join.records import SHARE_OPEN, columns, event, label, new_join
from services.ingest.join.examples import ExampleWriter
from services.ingest.join.service import EVENTS, LABELS, SIDES
from services.ingest.join.state.disk import Disk

BATCH = 5000


class Rate(NamedTuple):
    """Pairs a second of processor time: in the state alone (decoding included), and with the examples encoded."""

    state: float
    encoded: float


def rate(pairs: int) -> Rate:
    """Each batch of events is followed by its labels, as when the join keeps up."""
    join, writer, spent, encoding = new_join(600), ExampleWriter(600_000), 0.0, 0.0
    for start in range(0, pairs, BATCH):
        events = columns(event, start, BATCH, 10_000, start)
        labels = columns(label, start, BATCH, 10_000, start)
        began = time.process_time()
        join.feed(EVENTS, events)
        found = join.feed(LABELS, labels).pairs
        matched = time.process_time()
        for pair in found:
            writer.encode(pair, 0)
        spent += matched - began
        encoding += time.process_time() - matched
    return Rate(pairs / spent, pairs / (spent + encoding))


class Memory(NamedTuple):
    """After a number of windows: resident bytes, what the join says that it holds, open events, remembered keys."""

    windows: float
    resident: int
    held: int
    waiting: int
    keys: int


def memory(
    windows: int, per_s: int, window_s: float, max_bytes: int = 1 << 30, disk: Disk | None = None
) -> Iterator[Memory]:
    """Feed so many windows' worth of records, of which a few never find their label; tell after every window."""
    join, label_offset = new_join(window_s, max_bytes=max_bytes, disk=disk), 0
    per_window = round(per_s * window_s)
    delay = per_window // 4  # labels come a quarter of a window later
    for start in range(0, windows * per_window, BATCH):
        join.feed(EVENTS, columns(event, start, BATCH, per_s, start))
        if start >= delay:
            labels = columns(label, start - delay, round(BATCH * (1 - SHARE_OPEN)), per_s, label_offset)
            join.feed(LABELS, labels)
            label_offset += len(labels)
        for side in SIDES:
            join.resume(side)
        if (start + BATCH) // per_window > start // per_window:
            held = sum(map(join.bytes_held, SIDES))
            done = (start + BATCH) / per_window
            yield Memory(done, resident(), held, join.waiting(EVENTS), sum(map(join.seen, SIDES)))


def resident() -> int:
    """This process's resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
