"""Letting a contestant work off a backlog, and watching from outside what it commits and costs."""

import time
from collections.abc import Callable, Sequence

import psutil
from confluent_kafka import Consumer, TopicPartition

from benchmarks.stream.backlog import PARTITIONS, SINK, SOURCE, assign, ends, place
from benchmarks.stream.contestants import Contestant, running
from benchmarks.stream.figures import Sample
from benchmarks.stream.terms import Terms
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

_EVERY_S = 0.02
_PATIENCE_S = 120.0
_FLUSH_S, _MORE_S = 10.0, 0.3


def race(who: Contestant, settings: ServiceSettings, terms: Terms, records: int, *, processes: int = 1) -> list[Sample]:
    """Work off the last `records` events of the topic; a sample for every commit that was seen.

    Raises:
        TimeoutError: nothing is committed for two minutes.
        RuntimeError: a process ended, or the committed output has not one record for each that was consumed.
    """
    place(settings, terms.group, records)
    # Uncommitted offsets of open transactions are passed over: a reader of committed ones would have to wait for their
    # end.
    observer = kafka.consumer(settings, terms.group, **{"isolation.level": "read_uncommitted"})
    counter = kafka.consumer(settings, f"{terms.group}.counter")
    before, start = ends(counter, SINK), _committed(observer)
    try:
        with running(who, terms, processes) as workers:
            samples = _watch(workers, lambda: _committed(observer) - start, records)
            assign(counter, SINK, before)
            _check_output(who, counter, records)
        return samples
    finally:
        observer.close()
        counter.close()


def _watch(workers: Sequence[psutil.Popen], committed: Callable[[], int], records: int) -> list[Sample]:
    started = moved = time.monotonic()
    samples: list[Sample] = []
    done = 0
    while done < records:
        time.sleep(_EVERY_S)
        before, done = done, committed()
        now = time.monotonic()
        if done > before:
            moved = now
            samples.append(_sample(workers, now - started, done))
        elif now - moved > _PATIENCE_S or any(w.poll() is not None for w in workers):
            codes = [w.poll() for w in workers]
            raise TimeoutError(
                f"{done:,} of {records:,} records after {now - started:.0f} s; exit codes {codes}: see build/bench"
            )
    return samples


def _committed(observer: Consumer) -> int:
    found = observer.committed([TopicPartition(SOURCE, p) for p in range(PARTITIONS)], timeout=15)
    return sum(max(0, partition.offset) for partition in found)


def _sample(workers: Sequence[psutil.Popen], at_s: float, done: int) -> Sample:
    times = [w.cpu_times() for w in workers]
    return Sample(at_s, done, sum(t.user + t.system for t in times), sum(w.memory_info().rss for w in workers))


def _check_output(who: Contestant, counter: Consumer, records: int) -> None:
    """As many committed records as were consumed, and no more.

    The last ones may still be on their way to the broker.
    """
    found, heard = 0, time.monotonic()
    while time.monotonic() - heard < (_FLUSH_S if found < records else _MORE_S):
        messages = [kafka.check(m) for m in counter.consume(10_000, 0.1)]
        found += len(messages)
        heard = time.monotonic() if messages else heard
    if found != records:
        raise RuntimeError(
            f"{who.title}: {found:,} predictions are committed for {records:,} events that were consumed"
        )
