"""Running a contestant and watching, from outside, what it commits."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from confluent_kafka import Consumer

from headrace.contracts.topics import EVENTS
from headrace.model.pipeline import Pipeline
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings
from headrace.streams.chunks import Partition
from headrace.streams.positions import committed

_EVERY_S = 0.02
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Figures:
    """What one contestant did in one run."""

    records_per_s: float
    """From a tenth of the backlog to its end."""
    cpu_us_per_record: float
    """User and system time of the process, its start not counted."""
    rss_mib: float
    """The most that was resident."""
    start_s: float
    """From the process's start to its first commit."""

    def as_dict(self) -> dict[str, float]:
        """Rounded, for JSON."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


@contextmanager
def contestant(name: str, settings: ServiceSettings, pipeline: Pipeline, group: str) -> Iterator[psutil.Process]:
    """`benchmarks.stream.<name>` as a process of consumer group `group`; its log is in build/bench."""
    log = Path("build/bench") / f"stream-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    line = [
        sys.executable, "-m", f"benchmarks.stream.{name}", f"--pipeline={pipeline.folder}", f"--instance={group}",
        f"--run-dir={settings.run_folder}", f"--kafka-bootstrap-servers={settings.kafka_bootstrap_servers}",
    ]  # fmt: skip
    with log.open("wb") as out, subprocess.Popen(line, stdout=out, stderr=out) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def race(name: str, settings: ServiceSettings, pipeline: Pipeline, records: int, group: str) -> Figures:
    """Let a contestant work off the backlog.

    Raises:
        TimeoutError: nothing is committed for two minutes.
    """
    reader = kafka.consumer(settings, group)
    try:
        with contestant(name, settings, pipeline, group) as process:
            return _watch(process, reader, pipeline, records)
    finally:
        reader.close()


def _watch(process: psutil.Process, reader: Consumer, pipeline: Pipeline, records: int) -> Figures:
    partitions = [Partition(EVENTS.name(pipeline.name), p) for p in range(pipeline.spec.topics.partitions)]
    started = moved = time.monotonic()
    done, first, rss = 0, 0.0, 0
    mark: tuple[float, int, float] | None = None
    while done < records:
        time.sleep(_EVERY_S)
        before, done = done, sum(committed(reader, partitions, "earliest").values())
        now = time.monotonic()
        moved = now if done > before else moved
        if now - moved > _PATIENCE_S:
            raise TimeoutError(f"{done} of {records} records after {now - started:.0f} s")
        first = first or (now - started if done else 0.0)
        if done > before:
            rss = max(rss, process.memory_info().rss)
        if mark is None and done >= records / 10:
            mark = (now, done, _cpu(process))
    since, from_, cpu = mark or (started, 0, 0.0)
    worked = done - from_
    return Figures(worked / (time.monotonic() - since), (_cpu(process) - cpu) / worked * 1e6, rss / 2**20, first)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
