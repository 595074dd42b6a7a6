"""Appending to a broker that is not there: every record is named, within the deadline, and nothing hangs."""

import pytest

from headrace.runtime.settings import ServiceSettings
from services.ingest.kafka import KafkaLog
from services.ingest.service import KeyedRecord


@pytest.mark.parametrize("traceparent", [None, "00-1"])
async def test_without_a_broker_every_record_is_reported_as_not_acknowledged(traceparent: str | None) -> None:
    settings = ServiceSettings(kafka_bootstrap_servers="127.0.0.1:1", kafka_config={"log_level": "0"}).for_role("ingest")
    log = KafkaLog(settings, delivery_timeout_s=0.2, linger_ms=1, max_in_flight=10)
    try:
        failed = await log.append("toy.events", [KeyedRecord(b"k", b"v")] * 3, traceparent)
    finally:
        log.close(1.0)
    assert sorted(failed) == [0, 1, 2]
    assert all("timed out" in reason for reason in failed.values())
