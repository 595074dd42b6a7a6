"""What one would write by hand without joining: read both topics, write a record of an example's size for every label.

consume → produce_batch → send_offsets_to_transaction → commit_transaction, one thing after the other.
"""

import os
import sys

from confluent_kafka import TopicPartition

from benchmarks.join.records import event
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings
from headrace.streams.transactions import PRODUCER_CONFIG

CHUNK = 10_000
SOURCES = b',"event_source":[0,1000000],"label_source":[0,1000000],"label":'
FILLER = b'{"key":"ride-000000000000","event":' + event(0) + SOURCES


def main(servers: str, group: str, events: str, labels: str, examples: str) -> None:
    """Copy until killed."""
    settings = ServiceSettings(kafka_bootstrap_servers=servers).for_role("bare")
    producer = kafka.transactional_producer(settings, f"{group}.{os.getpid()}", **PRODUCER_CONFIG)
    consumer = kafka.consumer(settings, group)
    consumer.subscribe([events, labels])
    while True:
        if not (messages := consumer.consume(CHUNK, 0.05)):
            continue
        offsets = {(m.topic(), m.partition()): m.offset() + 1 for m in messages}
        records = [{"value": FILLER + m.value(), "key": m.key()} for m in messages if m.topic() == labels]
        producer.begin_transaction()
        producer.produce_batch(examples, records)
        producer.send_offsets_to_transaction(
            [TopicPartition(t, p, o) for (t, p), o in offsets.items()], consumer.consumer_group_metadata()
        )
        producer.commit_transaction()


if __name__ == "__main__":
    main(*sys.argv[1:])
