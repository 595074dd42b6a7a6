"""A client without brokers is noticed by its statistics, and one whose brokers are merely away is left alone."""

import json
import logging
import time

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from headrace.runtime import kafka
from headrace.runtime.brokers import BrokerWatch, ClientLog, told, watched
from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings
from tests.patience import WAIT_S
from tests.unit.runtime.fenced_broker import FencedBroker


def statistics(*sources: str) -> str:
    return json.dumps(
        {"name": "c", "brokers": {f"b{i}": {"source": source, "state": "DOWN"} for i, source in enumerate(sources)}}
    )


def test_a_client_that_has_nothing_to_connect_to_is_given_up() -> None:
    watch = BrokerWatch(most=2)
    watch(statistics("logical"))
    with pytest.raises(DependencyError, match="lost all its brokers"):
        watch(statistics("logical", "internal"))


@pytest.mark.parametrize("source", ["configured", "learned"])
def test_brokers_that_are_down_are_waited_for(source: str) -> None:
    watch = BrokerWatch(most=2)
    for _ in range(5):
        watch(statistics("logical", source))


def test_a_client_that_begins_again_in_time_is_well() -> None:
    watch = BrokerWatch(most=2)
    for _ in range(3):
        watch(statistics())
        watch(statistics("configured"))


def test_a_real_client_that_one_answer_without_brokers_strands_is_given_up() -> None:
    """The client is librdkafka, as a transactional producer is set up; only what it is told is not a broker's."""
    with FencedBroker() as broker:
        settings = {
            "bootstrap.servers": broker.address, "log_level": 0, "topic.metadata.refresh.interval.ms": 200,
            "metadata.recovery.strategy": "none", "message.timeout.ms": 60_000,
        }  # fmt: skip
        producer = Producer({**settings, **watched(every_ms=100)})
        producer.list_topics("t", timeout=WAIT_S)
        producer.produce("t", b"x")  # a topic that is known is asked for again and again
        producer.poll(0.5)
        broker.serving = False
        with pytest.raises(DependencyError, match="lost all its brokers"):
            polled(producer)
        broker.serving = True
        with pytest.raises(KafkaException):
            producer.list_topics("t", timeout=1)


def polled(producer: Producer) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        producer.poll(0.05)


def test_a_producer_is_closed_in_time_and_its_records_are_counted() -> None:
    """Nobody takes them; librdkafka by itself would try for five minutes."""
    settings = ServiceSettings(kafka_bootstrap_servers="127.0.0.1:1", kafka_config={"log_level": "0"}).for_role("test")
    producer, failed = kafka.producer(settings), []
    for _ in range(3):
        producer.produce("t", b"x", on_delivery=lambda error, _: failed.append(error.name()))
    assert kafka.close(producer, 0.05) == 3
    assert failed == ["_PURGE_QUEUE"] * 3


def test_a_client_without_a_broker_says_so_in_our_log_and_not_twenty_times_a_second(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with structlog.testing.capture_logs() as lines:
        client = Producer({"bootstrap.servers": "127.0.0.1:1", "sasl.username": "u", **told()})
        with pytest.raises(KafkaException):
            client.list_topics("t", timeout=0.5)
        client.poll(0)
    assert [line.get("code", line.get("said", "").partition(" ")[0]) for line in lines] == [
        "CONFWARN", "_TRANSPORT", "_ALL_BROKERS_DOWN",
    ]  # fmt: skip
    assert all(line["log_level"] == "warning" for line in lines)
    assert capfd.readouterr().err == ""  # past the log, librdkafka writes nothing


def test_every_fatal_error_is_logged_and_others_once_in_a_while() -> None:
    log = ClientLog()
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            log.error(KafkaError(KafkaError._TRANSPORT))
            log.error(KafkaError(KafkaError._FENCED, fatal=True))
            log.log(logging.WARNING, "%s [%s] %s", "MAXPOLL", "c", "too late")
    assert [line.get("code", "MAXPOLL") for line in lines] == ["_TRANSPORT", "_FENCED", "MAXPOLL", "_FENCED", "_FENCED"]
