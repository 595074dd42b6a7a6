"""Records of a topic as lines: for people, and as JSON for programs."""

from typing import Any

import msgspec
import typer
from confluent_kafka import Message

from headrace.contracts.plain_values import plain_value, text, time_of


def value_alone(message: Message) -> str:
    """The record's value: JSON on one line, else text."""
    return _plain(plain_value(message.topic() or "", message.value()))


def line(message: Message, *, as_json: bool) -> str:
    """The record on one line: place, time, key and value."""
    key, value = message.key(), plain_value(message.topic() or "", message.value())
    at = message.timestamp()[1] / 1000
    where: dict[str, Any] = {"partition": message.partition(), "offset": message.offset()}
    if as_json:
        shown_key = None if key is None else text(key)
        return msgspec.json.encode({**where, "at": at, "key": shown_key, "value": value}).decode()
    place = typer.style(f"{message.partition()}@{message.offset()}".ljust(9), dim=True)
    shown_key = typer.style("-" if key is None else text(key), fg="cyan")
    return f"{place} {typer.style(time_of(at)[11:], dim=True)}  {shown_key}  {_plain(value)}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
