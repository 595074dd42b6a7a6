"""An example's record: what it is made of, and what of its event's message is kept for it while the event is open."""

from typing import Any, NamedTuple

import msgspec

from headrace.contracts.records import TRACEPARENT
from services.ingest.join.service import Pair, Record

Headers = tuple[tuple[str, bytes | None], ...]


class Origin(NamedTuple):
    """What is kept of an event's message where it is not what its value says."""

    record_key: bytes | None
    trace: Headers

    def key(self) -> bytes | None:
        """The Kafka key."""
        return self.record_key

    def headers(self) -> Headers:
        """The trace context."""
        return self.trace


def kept(message: Any, key: str) -> Origin | None:
    """Of an event's message, what its example needs: None if its Kafka key is its key and it has no trace context.

    A whole message takes some 350 bytes without headers, and many are open at a time.
    """
    record_key, headers = message.key(), message.headers()
    if headers is None and (record_key is None or record_key == key.encode()):
        return None
    return Origin(record_key, _trace(headers))


def trace(event: Record) -> Headers:
    """The headers that go with the event's example."""
    return _trace(event.message.headers()) if event.message is not None else ()


def key_of(pair: Pair) -> bytes:
    """The Kafka key of the pair's example."""
    message = pair.event.message
    return (message.key() if message is not None else None) or pair.key.encode()


def encode_example(pair: Pair, partition: int) -> bytes:
    """`records.Example` in JSON, the event and the label as they came: both were validated before."""
    event, label = pair.event, pair.label
    return _EXAMPLE % (
        msgspec.json.encode(pair.key), event.value, label.value, partition, event.offset, partition, label.offset,
        event.timestamp_ms, label.timestamp_ms,
    )  # fmt: skip


_EXAMPLE = b'{"key":%b,"event":%b,"label":%b,"event_source":[%d,%d],"label_source":[%d,%d],"event_ms":%d,"label_ms":%d}'


def _trace(headers: Any) -> Headers:
    return tuple((name, value) for name, value in headers if name == TRACEPARENT) if headers else ()
