"""The record of operations and refusals, on headrace.audit and in the role's own log.

The log line comes first, so that an operation is noted even while Kafka is away.
"""

import time
from typing import Protocol

import msgspec

from headrace.contracts.access import AuditEntry
from headrace.contracts.topics import AUDIT
from headrace.runtime import kafka
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings

log = get_logger("headrace.access.audit")
_encode = msgspec.json.Encoder().encode


class Audit(Protocol):
    """Takes notes."""

    def note(self, entry: AuditEntry) -> None:
        """Note a request; does not wait."""
        ...


class AuditLog:
    """Implements `Audit` with Kafka. Records that the broker does not take are counted in the log when it closes."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        kafka.ensure_topics(settings, [AUDIT.topic()])
        self._producer = kafka.producer(settings, **{"queue.buffering.max.messages": 100_000})

    def note(self, entry: AuditEntry) -> None:
        """See `Audit`."""
        fields = {name: value for name, value in msgspec.structs.asdict(entry).items() if name not in _OF_THE_LOG}
        log.info("audit", **fields)
        try:
            self._producer.produce(AUDIT.name(), _encode(entry), entry.principal.encode() or None)
        except BufferError:
            log.warning("an audit record is in the log only: Kafka does not take them fast enough")
        self._producer.poll(0)

    def close(self) -> None:
        """Wait for what is on its way."""
        if left := kafka.close(self._producer, kafka.REQUEST_TIMEOUT_S):
            log.warning("audit records are in the log only", records=left)


_OF_THE_LOG = {"at_us", "role", "instance"}


def now_us() -> int:
    """Now, in µs since the epoch."""
    return time.time_ns() // 1000
