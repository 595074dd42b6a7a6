"""The embedded broker is a whole Kafka: what the services rely on works on it."""

import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.patience import WAIT_S


def read_all(bootstrap: str, topic: str, wanted: int, **conf: str) -> list[bytes]:
    reader = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest", **conf}
    )
    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        found: list[bytes] = []
        while len(found) < wanted:
            message = reader.poll(10)
            assert message is not None, f"only {len(found)} of {wanted} records came"
            assert message.error() is None
            found.append(message.value())
        return found
    finally:
        reader.close()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_is_stored_and_read(kafka, codec):
    # The broker recompresses (compression.type of the topic), so that its own codecs run, not only the client's.
    topic = kafka.create_topic("codec", config={"compression.type": "uncompressed" if codec == "none" else codec})
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "compression.type": "none"})
    for number in range(100):
        producer.produce(topic, str(number).encode() * 50)
    assert producer.flush(WAIT_S) == 0
    assert read_all(kafka.bootstrap_servers, topic, 100) == [str(n).encode() * 50 for n in range(100)]


def test_a_committed_transaction_is_seen_and_an_aborted_one_is_not(kafka):
    topic = kafka.create_topic("transaction")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": kafka.unique("tx")})
    producer.init_transactions(15)
    for value, finish in ((b"one", "commit"), (b"two", "abort"), (b"three", "commit")):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(WAIT_S)
        getattr(producer, f"{finish}_transaction")(15)
    assert read_all(kafka.bootstrap_servers, topic, 2, **{"isolation.level": "read_committed"}) == [b"one", b"three"]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_of_both_protocols_get_assignments_and_commit(kafka, protocol):
    topic, group = kafka.create_topic("group", partitions=2), kafka.unique("group")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for partition in (0, 1):
        producer.produce(topic, b"x", partition=partition)
    producer.flush(WAIT_S)
    settings = {
        "bootstrap.servers": kafka.bootstrap_servers, "group.id": group, "group.protocol": protocol,
        "auto.offset.reset": "earliest", "enable.auto.commit": False,
    }  # fmt: skip
    member = Consumer(settings)
    try:
        member.subscribe([topic])
        seen = set()
        while len(seen) < 2:
            message = member.poll(20)
            assert message is not None
            seen.add(message.partition())
        member.commit(asynchronous=False)
        committed = member.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=WAIT_S)
        assert [c.offset for c in committed] == [1, 1]
    finally:
        member.close()


def test_topics_are_not_created_by_mentioning_them(kafka):
    outcome = []
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "topic.metadata.propagation.max.ms": 0})
    producer.produce("nobody-made-this", b"x", on_delivery=lambda error, _: outcome.append(error.code()))
    assert producer.flush(WAIT_S) == 0
    assert outcome == [KafkaError.UNKNOWN_TOPIC_OR_PART]
    assert "nobody-made-this" not in kafka.admin.list_topics(timeout=WAIT_S).topics
