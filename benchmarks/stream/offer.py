"""A producer process that offers events at a fixed rate, every event stamped with the time at which it is sent."""

import argparse
import time
from pathlib import Path

from benchmarks.stream.backlog import make_events
from headrace.contracts.topics import EVENTS
from headrace.model.pipeline import load_pipeline
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

_TICK_S = 0.001


def main() -> None:
    """Offer, and end when the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    pipeline = load_pipeline(Path(__file__).parent / "task")
    topic, events = EVENTS.name(pipeline.name), make_events(pipeline)
    producer = kafka.producer(ServiceSettings(kafka_bootstrap_servers=options.servers).for_role("offer"), **{"linger.ms": 1})
    started, sent = time.monotonic(), 0
    while (now := time.monotonic() - started) < options.seconds:
        due = int(now * options.rate)
        while sent < due:
            value, key = events[sent % len(events)]
            producer.produce(topic, value, key, timestamp=time.time_ns() // 1_000_000)
            sent += 1
        producer.poll(0)
        time.sleep(_TICK_S)
    producer.flush()


if __name__ == "__main__":
    main()
