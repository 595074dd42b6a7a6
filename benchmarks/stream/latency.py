"""How long from an event that is produced to its committed prediction that is read, at fixed offered rates.

The reader waits in `poll`, which returns with the first record that a fetch brings, and takes whatever else is there
without waiting. What the two instruments themselves add is measured too: the "floor" is the same offer, read straight
from the events.
"""

import gc
import json
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import numpy as np
from confluent_kafka import Consumer, Message

from benchmarks.stream.backlog import SINK, SOURCE, assign, ends, place
from benchmarks.stream.contestants import Contestant, running
from benchmarks.stream.figures import Latency, percentiles
from benchmarks.stream.offer import Offered
from benchmarks.stream.task.event import make_events
from benchmarks.stream.terms import Terms
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

FLOOR = "no prediction: offer to reader"
WARM_UP_S = 2.0
_PATIENCE_S = 60.0
_QUIET_S = 8.0
_MOST = 10_000


class _Stamp(msgspec.Struct):
    """Of a prediction, the one field that is needed: decoding fewer keeps the reader out of the way."""

    event_ms: int


_stamp = msgspec.json.Decoder(_Stamp).decode


def _event_ms(prediction: Message) -> int:
    return _stamp(prediction.value()).event_ms


def _own_ms(event: Message) -> int:
    return event.timestamp()[1]


def latencies(
    who: Contestant,
    settings: ServiceSettings,
    terms: Terms,
    *,
    rates: Sequence[float],
    seconds: float,
    warm_up_s: float = WARM_UP_S,
) -> list[Latency]:
    """Offer each rate for so many seconds to one process of the contestant, and read what it commits."""
    place(settings, terms.group, 0)
    with running(who, terms), _reader(settings, SINK) as reader:
        _wait_until_it_answers(settings, reader)
        return [
            _measure(reader, _event_ms, terms.servers, rate=rate, seconds=seconds, warm_up_s=warm_up_s)
            for rate in rates
        ]


def floor(settings: ServiceSettings, *, rates: Sequence[float], seconds: float) -> list[Latency]:
    """The same with nobody in between."""
    with _reader(settings, SOURCE) as reader:
        return [
            _measure(reader, _own_ms, settings.kafka_bootstrap_servers, rate=rate, seconds=seconds, warm_up_s=WARM_UP_S)
            for rate in rates
        ]


@contextmanager
def _reader(settings: ServiceSettings, topic: str) -> Iterator[Consumer]:
    reader = kafka.consumer(settings, "bench.reader", **{"fetch.wait.max.ms": 100})
    assign(reader, topic, ends(reader, topic))
    try:
        yield reader
    finally:
        reader.close()


def _wait_until_it_answers(settings: ServiceSettings, reader: Consumer) -> None:
    """Produce one event and wait for its prediction: starting up is not what is measured."""
    producer = kafka.producer(settings)
    value, key = make_events()[0]
    producer.produce(SOURCE, value, key)
    producer.flush()
    if reader.poll(_PATIENCE_S) is None:
        raise TimeoutError(f"no prediction within {_PATIENCE_S:.0f} s: see the logs in build/bench")


def _measure(
    reader: Consumer, stamp: Callable[[Message], int], servers: str, *, rate: float, seconds: float, warm_up_s: float
) -> Latency:
    offer = [
        sys.executable, "-m", "benchmarks.stream.offer", f"--servers={servers}", f"--topic={SOURCE}", f"--rate={rate}",
        f"--seconds={seconds + warm_up_s}",
    ]  # fmt: skip
    gc.collect()
    gc.disable()  # a collection would show as latency
    try:
        with subprocess.Popen(offer, stdout=subprocess.PIPE) as producing:
            offered, stamps, read, cores = _read(reader, stamp, producing)
    finally:
        gc.enable()
    return summary(offered, np.asarray(stamps), np.asarray(read), rate=rate, reader_cores=cores, warm_up_s=warm_up_s)


def _read(
    reader: Consumer, stamp: Callable[[Message], int], producing: "subprocess.Popen[bytes]"
) -> tuple[Offered, "array[int]", "array[float]", float]:
    """Read until everything offered was, or nothing comes any more.

    When each was produced and read, in ms since the epoch.
    """
    stamps, read, offered = array("q"), array("d"), None
    started = heard = time.monotonic()
    cpu = time.process_time()
    while offered is None or (len(read) < offered.sent and time.monotonic() - heard < _QUIET_S):
        first = reader.poll(0.05)
        if first is not None:
            messages = [kafka.check(m) for m in (first, *reader.consume(_MOST, 0))]
            read.extend([time.time() * 1000] * len(messages))
            stamps.extend(map(stamp, messages))
            heard = time.monotonic()
        if offered is None and producing.poll() is not None:
            offered = _result(producing)
    return offered, stamps, read, (time.process_time() - cpu) / (time.monotonic() - started)


def _result(producing: "subprocess.Popen[bytes]") -> Offered:
    if producing.returncode or producing.stdout is None:
        raise RuntimeError(f"the process that offers events ended with {producing.returncode}: its error is above")
    return Offered(**json.loads(producing.stdout.read()))


def summary(
    offered: Offered, stamps: "np.ndarray", read: "np.ndarray", *, rate: float, reader_cores: float, warm_up_s: float
) -> Latency:
    """Percentiles over the events that were due after the warm-up."""
    counted = stamps >= offered.started_ms + warm_up_s * 1000
    p50, p99, p999, worst = percentiles((read - stamps)[counted])
    warming = int((~counted).sum())
    return Latency(
        rate, offered.sent - warming, int(counted.sum()), p50, p99, p999, worst, offered.late_p99_ms,
        offered.late_worst_ms, offered.cores, reader_cores,
    )  # fmt: skip
