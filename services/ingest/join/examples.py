"""An example's record: what it is made of, and what of its event's message is kept for it while the event is open."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace.contracts.records import TRACEPARENT
from headrace.streams.memory import MemoryRecord
from services.ingest.join.labels import DefaultLabel, Sampling
from services.ingest.join.rules import Pair
from services.ingest.join.state.records import Headers, Origin, Record


def kept(message: Any, key: str) -> Origin | None:
    """Of an event's message, what its example needs: None if its Kafka key is its key and it has no trace context.

    A whole message takes some 350 bytes without headers, and many are open at a time.
    """
    if message is None:
        return None
    record_key, headers = message.key(), message.headers()
    if headers is None and (record_key is None or record_key == key.encode()):
        return None
    return Origin(record_key, _trace(headers))


def kept_whole(message: Any, _key: str) -> Origin:
    """Of a record's message, what its dead letter needs."""
    return Origin(message.key(), tuple(message.headers() or ()))


def whole(record: Record, topic: str, partition: int) -> MemoryRecord:
    """The record as it came, of which `kept_whole` kept the message."""
    message: Origin = record.message
    return MemoryRecord(
        record.value, message.key(), topic, partition, record.offset, record.timestamp_ms, message.headers() or None
    )


def trace(event: Record) -> Headers:
    """The headers that go with the event's example."""
    return _trace(event.message.headers()) if event.message is not None else ()


def key_of(pair: Pair) -> bytes:
    """The Kafka key of the pair's example."""
    message = pair.event.message
    return (message.key() if message is not None else None) or pair.key.encode()


@dataclass(frozen=True)
class ExampleWriter:
    """Makes examples of pairs, each a `records.Example` in JSON; event and label as they came: both were validated.

    `default` is the label of pairs without one, `window_ms` after the event; `corrected_weight` the weight of examples
    with a label that corrects another.
    """

    window_ms: int
    default: DefaultLabel | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling((), bytes))
    corrected_weight: float = 1.0

    def encode_all(self, pairs: Sequence[Pair], partition: int) -> list[bytes | None]:
        """The examples of one partition's pairs; see `encode`. The usual pair takes one formatting of its numbers."""
        usual, encode_key, sampled = _USUAL % (partition, partition), msgspec.json.encode, bool(self.sampling.rules)
        found = list[bytes | None]()
        for pair in pairs:
            key, event, label, corrected = pair
            if label is None or corrected or sampled:
                found.append(self.encode(pair, partition))
            else:
                fields = (encode_key(key), event[2], label[2], event[0], label[0], event[1], label[1])
                found.append(usual % fields)
        return found

    def encode(self, pair: Pair, partition: int) -> bytes | None:
        """The example; None if it is not among those that are kept."""
        key, event, label, corrected = pair
        if label is None:
            return self._encode_default(pair, partition)
        probability = self.sampling.probability(label.value)
        if corrected or probability < 1.0:
            if not self.sampling.is_kept(key, probability):
                return None
            more = b',"kind":"corrected"' + _weight(self.corrected_weight) if corrected else b""
            more += _probability(probability)
        else:
            more = b""
        return _EXAMPLE % (
            msgspec.json.encode(key), event.value, label.value, partition, event.offset,
            b"[%d,%d]" % (partition, label.offset), event.timestamp_ms, label.timestamp_ms, more,
        )  # fmt: skip

    def _encode_default(self, pair: Pair, partition: int) -> bytes | None:
        assert self.default is not None
        event, label = pair.event, self.default.encode(pair.event.value)
        probability = self.sampling.probability(label)
        if not self.sampling.is_kept(pair.key, probability):
            return None
        return _EXAMPLE % (
            msgspec.json.encode(pair.key), event.value, label, partition, event.offset, b"null", event.timestamp_ms,
            event.timestamp_ms + self.window_ms, b',"kind":"default"' + _probability(probability),
        )  # fmt: skip


_EXAMPLE = b'{"key":%b,"event":%b,"label":%b,"event_source":[%d,%d],"label_source":%b,"event_ms":%d,"label_ms":%d%b}'

_USUAL = (
    b'{"key":%%b,"event":%%b,"label":%%b,"event_source":[%d,%%d],"label_source":[%d,%%d],"event_ms":%%d,"label_ms":%%d}'
)


def _probability(probability: float) -> bytes:
    return b"" if probability >= 1.0 else b',"probability":%r' % probability


def _weight(weight: float) -> bytes:
    return b"" if weight == 1.0 else b',"weight":%r' % weight


def _trace(headers: Any) -> Headers:
    return tuple((name, value) for name, value in headers if name == TRACEPARENT) if headers else ()
