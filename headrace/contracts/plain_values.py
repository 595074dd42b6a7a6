"""Records of any topic as plain values, that people can read and JSON can hold: JSON, system events, dead letters."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from headrace.contracts import events_pb2
from headrace.contracts.topics import CATALOGUE, DEAD_LETTER_SUFFIX

_LONG = 96
_PROTOBUF = "headrace.v1."


def message_type(topic: str) -> type[Message] | None:
    """The protobuf type of a topic's values; None where they are JSON."""
    if topic.endswith(DEAD_LETTER_SUFFIX):
        return events_pb2.DeadLetter
    for spec in CATALOGUE:
        if not spec.per_pipeline and spec.name() == topic and spec.schema.startswith(_PROTOBUF):
            return getattr(events_pb2, spec.schema.rsplit(".", 1)[-1])  # type: ignore[no-any-return]
    return None


def plain_value(topic: str, value: bytes | None) -> Any:
    """The value of a record of `topic`; what cannot be decoded is text, else hexadecimal."""
    if value is None:
        return None
    kind = message_type(topic)
    try:
        return msgspec.json.decode(value) if kind is None else _fields(kind.FromString(value))
    except (msgspec.DecodeError, DecodeError):
        return text(value)


def text(value: bytes) -> str:
    """Bytes as text, else as hexadecimal."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "0x" + value.hex() if len(value) <= _LONG else f"0x{value[:_LONG].hex()}… ({len(value):,} bytes)"


def _fields(message: Message) -> dict[str, Any]:
    """A message's fields: bytes as text, times as times, a manifest as its length: its digest is another field."""
    shown: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    for name, plain in list(shown.items()):
        value = getattr(message, name)
        if name == "manifest":
            shown[name] = f"({len(value):,} bytes)"
        elif isinstance(value, bytes):
            shown[name] = text(value)
        elif name == "headers":
            shown[name] = {h.name: text(h.value) if h.HasField("value") else None for h in value}
        elif name.endswith("_us") and value:
            shown[name] = time_of(value / 1e6)
        elif name == "timestamp_ms":
            shown[name] = time_of(value / 1e3)
        elif isinstance(value, int) and isinstance(plain, str) and plain.isdigit():
            shown[name] = value  # JSON's 64-bit integers are strings
        elif name == "offsets":
            shown[name] = {f"{o.topic}[{o.partition}]": o.offset for o in value}
    return shown


def time_of(seconds: float) -> str:
    """A time in seconds since the epoch in ISO 8601: UTC, to the ms."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
