"""How many open events fit into how much memory, with and without a disk, how fast they are joined, and read again.

Each figure is of a process of its own: `python -m benchmarks.join.windows EVENTS MAX_MIB DISK_MIB FOLDER`.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.join.alone import resident
from benchmarks.join.records import columns, event, label, new_join
from services.ingest.join.service import EVENTS, LABELS, SIDES, Records
from services.ingest.join.state.disk import Disk

MIB, BATCH, PER_S, LABELLED = 1 << 20, 5000, 10_000, 200_000
WINDOW_S = 3600.0


class Window(NamedTuple):
    """Open events of one window, and what they take.

    `open_us` is processor time for each event, which a rebuild takes again; `join_us` for each label of a random one
    of them.
    """

    events: int
    max_mib: int
    on_disk_mib: float
    resident_mib: float
    given_up: int
    open_us: float
    join_us: float


def windows(sizes: list[int], limits: list[tuple[int, int]]) -> Iterator[Window]:
    """Each number of events with each limit of memory and disk, in MiB."""
    for events in sizes:
        for max_mib, disk_mib in limits:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", __spec__.name, *map(str, (events, max_mib, disk_mib)), folder]
                found = subprocess.run(command, check=True, capture_output=True, text=True)
            yield Window(*json.loads(found.stdout))


def measure(events: int, max_mib: int, disk: Disk) -> Window:
    """Open so many events, then join labels of some, in no order."""
    join, started = new_join(WINDOW_S, max_bytes=max_mib * MIB, disk=disk), time.process_time()
    making = 0.0
    for start in range(0, events, BATCH):
        before = time.process_time()
        records = columns(event, start, min(BATCH, events - start), PER_S, start)
        making += time.process_time() - before
        join.feed(EVENTS, records)
    opened, held = time.process_time() - started - making, resident()
    given_up = join.counts.evicted
    chosen, spent = random.Random(1).sample(range(events), min(LABELLED, events)), 0.0
    for start in range(0, len(chosen), BATCH):
        labels = _labels(chosen[start : start + BATCH], start, events)
        before = time.process_time()
        join.feed(LABELS, labels)
        spent += time.process_time() - before
    assert join.counts.matched + given_up >= len(chosen)
    assert sum(map(join.waiting, SIDES)) > 0
    return Window(
        events, max_mib, disk.used / MIB, held / MIB, given_up, opened / events * 1e6, spent / len(chosen) * 1e6
    )


def _labels(numbers: list[int], offset: int, events: int) -> Records:
    latest = columns(label, events, 1, PER_S, 0).timestamps[0]
    values = [label(n) for n in numbers]
    return Records(list(range(offset, offset + len(numbers))), [latest] * len(numbers), values, [None] * len(numbers))


if __name__ == "__main__":
    count, most, on_disk = map(int, sys.argv[1:4])
    sys.stdout.write(json.dumps(measure(count, most, Disk(Path(sys.argv[4]), on_disk * MIB))))
