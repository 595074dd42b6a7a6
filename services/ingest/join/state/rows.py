"""Rows of segments: a key with its time, an open record with its key. Only the process that wrote them reads them."""

from struct import Struct

import msgspec

from services.ingest.join.state.records import Answered, Origin, Record

_TIME = Struct("<q")
_RECORD = Struct("<qqII")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Origin | Answered).decode
_decode_inner = msgspec.msgpack.Decoder(Origin).decode


def key_row(key: str, time: int) -> bytes:
    """A seen key."""
    return _TIME.pack(time) + key.encode()


def read_key_row(row: bytes) -> tuple[str, int]:
    """Key and time."""
    return row[_TIME.size :].decode(), _TIME.unpack_from(row)[0]


def is_row_of(key: str, row: bytes) -> bool:
    """Whether an open record's row is this key's."""
    length = _RECORD.unpack_from(row)[2]
    return row[_RECORD.size : _RECORD.size + length] == key.encode()


def record_row(key: str, record: Record) -> bytes:
    """An open record."""
    offset, timestamp, value, message = record
    name = key.encode()
    if message is None:
        more = b""
    elif isinstance(message, Answered):
        inner = b"" if message.message is None else _encode(message.message)
        more = _encode(Answered(inner, message.offset, message.value))
    else:
        more = _encode(message)
    return _RECORD.pack(offset, timestamp, len(name), len(value)) + name + value + more


def read_record_row(row: bytes) -> tuple[str, Record]:
    """Key and record."""
    offset, timestamp, name, length = _RECORD.unpack_from(row)
    start = _RECORD.size + name
    value, more = row[start : start + length], row[start + length :]
    message = _decode(more) if more else None
    if isinstance(message, Answered):
        message.message = _decode_inner(message.message) if message.message else None
    return row[_RECORD.size : start].decode(), Record(offset, timestamp, value, message)
