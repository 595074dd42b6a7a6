"""Appending to a broker that is not there: every record is named, within the deadline, and nothing hangs."""

import asyncio

import pytest

from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings
from services.ingest.kafka import KafkaLog
from services.ingest.service import KeyedRecord
from tests.patience import WAIT_S
from tests.unit.runtime.fenced_broker import FencedBroker


@pytest.mark.parametrize("traceparent", [None, "00-1"])
async def test_without_a_broker_every_record_is_reported_as_not_acknowledged(traceparent: str | None) -> None:
    settings = ServiceSettings(kafka_bootstrap_servers="127.0.0.1:1", kafka_config={"log_level": "0"}).for_role(
        "ingest"
    )
    log = KafkaLog(settings, delivery_timeout_s=0.2, linger_ms=1, max_in_flight=10)
    try:
        failed = await log.append("toy.events", [KeyedRecord(b"k", b"v")] * 3, traceparent)
    finally:
        log.close(1.0)
    assert sorted(failed) == [0, 1, 2]
    assert all("timed out" in reason for reason in failed.values())


async def test_a_producer_that_has_lost_its_brokers_for_good_ends_the_role() -> None:
    with FencedBroker() as broker:
        settings = ServiceSettings(
            kafka_bootstrap_servers=broker.address,
            kafka_config={
                "log_level": "0",
                "topic.metadata.refresh.interval.ms": "200",
                "metadata.recovery.strategy": "none",
            },
        ).for_role("ingest")
        log = KafkaLog(settings, delivery_timeout_s=WAIT_S, linger_ms=1, max_in_flight=10, watch_ms=100)
        waiting = asyncio.ensure_future(log.append("t", [KeyedRecord(b"k", b"v")], None))
        await asyncio.to_thread(log._producer.list_topics, "t", WAIT_S)
        broker.serving = False
        with pytest.raises(DependencyError, match="lost all its brokers"):
            await asyncio.wait_for(log.served(), WAIT_S)
        assert log.close(0.1) == 1
        waiting.cancel()
