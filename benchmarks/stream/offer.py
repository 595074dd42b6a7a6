"""A producer process that offers events at a fixed rate, every event stamped with the time at which it is sent.

Open loop: what is due is sent, whether or not earlier events were answered. It ends by printing one line of JSON: how
many were sent, when the first was due, how late its own schedule ran, and the processor time that it took.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from confluent_kafka import Producer

from benchmarks.stream.task.event import make_events

TICK_S = 0.001
CONFIG = {
    "enable.idempotence": True,
    "linger.ms": 5,  # Kafka's default; less gives the broker more and smaller requests than most producers do
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
}


@dataclass(frozen=True)
class Offered:
    """What was offered, told by the process that did."""

    sent: int
    started_ms: float
    """When the first event was due, since the epoch."""
    late_p99_ms: float
    late_worst_ms: float
    """From when an event was due to when it was handed to the producer; up to one tick is by design."""
    cores: float
    """Processor time by wall time."""


def schedule(
    rate: float, seconds: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[tuple[float, range]]:
    """At every tick, the time since the start in s and the numbers of the events that are due.

    Event n is at n / rate.
    """
    started, sent, total = clock(), 0, int(rate * seconds)
    while sent < total:
        now = clock() - started
        due = min(total, int(now * rate) + 1)
        if due > sent:
            yield now, range(sent, due)
            sent = due
        sleep(max(0.0, TICK_S - (clock() - started) % TICK_S))


def lateness_ms(ticks: Sequence[tuple[float, range]], rate: float) -> "np.ndarray":
    """How late each event was, in ms."""
    return np.concatenate([(now - np.arange(due.start, due.stop) / rate) * 1000 for now, due in ticks])


def main() -> None:
    """Offer, and end when the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    events, ticks = make_events(), []
    producer = Producer({"bootstrap.servers": options.servers, **CONFIG})
    producer.list_topics(options.topic, timeout=15)  # connected and informed before the first event is due
    gc.collect()
    gc.disable()  # a collection would show as lateness
    started_ms, started, cpu = time.time() * 1000, time.monotonic(), time.process_time()
    for now, due in schedule(options.rate, options.seconds, time.monotonic, time.sleep):
        chosen = (events[n % len(events)] for n in due)
        producer.produce_batch(
            options.topic, [{"value": v, "key": k} for v, k in chosen]
        )  # the client stamps them, with now
        producer.poll(0)
        ticks.append((now, due))
    took, cpu = time.monotonic() - started, time.process_time() - cpu
    producer.flush()
    late_p99, late_worst = np.percentile(lateness_ms(ticks, options.rate), [99, 100])
    offered = Offered(ticks[-1][1].stop, started_ms, float(late_p99), float(late_worst), cpu / took)
    print(json.dumps(asdict(offered)))


if __name__ == "__main__":
    main()
