"""What the client's waits before retries cost small transactions: `python -m benchmarks.stream.transactions`.

The broker answers a commit before the transaction's markers are written, and refuses the next transaction's first
requests until they are. Each setting does the same transactions, in turn.
"""

import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from headrace.platform import LocalPlatform

SETTINGS = ((100, 1000), (10, 1000), (10, 20))
"""retry.backoff.ms and retry.backoff.max.ms: librdkafka's default, the first mended one, and ours."""
ROUNDS, TRANSACTIONS, RECORDS = 6, 60, 20
PARTITIONS = 4


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        platform = LocalPlatform(Path(folder))
        try:
            found = measure(platform.start().kafka_bootstrap_servers)
        finally:
            platform.stop()
    table = Table("retry.backoff.ms, max", "p50 ms", "p90", "p99", "longest", title="a transaction of 20 records")
    for setting, times in found.items():
        at = sorted(times)
        quantiles = (at[int(q * (len(at) - 1))] for q in (0.5, 0.9, 0.99, 1.0))
        table.add_row(f"{setting[0]}, {setting[1]}", *(f"{1000 * seconds:.1f}" for seconds in quantiles))
    Console().print(table)


def measure(servers: str) -> dict[tuple[int, int], list[float]]:
    """Seconds of each transaction, by setting."""
    admin = AdminClient({"bootstrap.servers": servers})
    for made in admin.create_topics([NewTopic(name, PARTITIONS) for name in ("in", "out")]).values():
        made.result()
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench"})
    producers = {setting: _producer(servers, *setting) for setting in SETTINGS}
    times: dict[tuple[int, int], list[float]] = {setting: [] for setting in SETTINGS}
    for _ in range(ROUNDS):
        for setting, producer in producers.items():
            times[setting] += [_transaction(producer, consumer, n) for n in range(TRANSACTIONS)]
    consumer.close()
    return times


def _producer(servers: str, backoff_ms: int, most_ms: int) -> Producer:
    producer = Producer({
        "bootstrap.servers": servers, "transactional.id": f"bench-{backoff_ms}-{most_ms}", "linger.ms": 0,
        "retry.backoff.ms": backoff_ms, "retry.backoff.max.ms": most_ms,
    })  # fmt: skip
    producer.init_transactions()
    return producer


def _transaction(producer: Producer, consumer: Consumer, number: int) -> float:
    started = time.perf_counter()
    producer.begin_transaction()
    for n in range(RECORDS):
        producer.produce("out", b"x" * 100, partition=n % PARTITIONS)
    producer.send_offsets_to_transaction([TopicPartition("in", 0, number)], consumer.consumer_group_metadata())
    producer.commit_transaction()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
