"""`headrace tail TOPIC`: the records of a topic, decoded."""

from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views.decode import decode, text, time_of
from headrace.launch.run_file import pipeline_of
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError

if TYPE_CHECKING:
    from confluent_kafka import Consumer


class Place(StrEnum):
    """Which end of the topic to read."""

    START = "start"
    END = "end"


def tail(
    topic: Annotated[
        str, typer.Argument(help="the topic, or its last part: `predictions`, `checkpoints`, `events.dlq`")
    ],
    *,
    number: Annotated[int, typer.Option("-n", "--number", min=0, help="how many records")] = 10,
    place: Annotated[Place, typer.Option("--from", help="the oldest records or the newest")] = Place.END,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="go on with new records until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per record, for programs")] = False,
    values: Annotated[bool, typer.Option("--values", help="the records' values alone, one a line")] = False,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """Show the records of a topic: JSON as it is, system events and dead letters decoded. Only committed records count.

    For example:

      headrace tail predictions

      headrace tail flights.events.dlq --from start -n 100

      headrace tail checkpoints --follow

      headrace tail predictions -f --json | jq .value.version

      headrace tail events -n 3 --values | headrace predict --event -
    """
    show = _value if values else partial(line, as_json=as_json)
    settings = connect(run, kafka_address)
    consumer = kafka.consumer(settings, "headrace.tail", **{"enable.partition.eof": True})
    try:
        name = resolve(topic, kafka.metadata(kafka.admin(settings)), pipeline_of(run))
        reader = Reader(consumer, name)
        for message in reader.first(number) if place is Place.START else reader.last(number):
            typer.echo(show(message))
        for message in reader.follow() if follow else ():
            typer.echo(show(message))
    except KeyboardInterrupt:
        return
    finally:
        consumer.close()


def resolve(wanted: str, known: dict[str, int], pipeline: str | None) -> str:
    """The topic that `wanted` names, in full or by its last part.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if wanted in known:
        return wanted
    if pipeline and f"{pipeline}.{wanted}" in known:
        return f"{pipeline}.{wanted}"
    fitting = sorted(name for name in known if name.endswith("." + wanted))
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(f"{wanted!r} may be {' or '.join(fitting)}", hint="name it in full")
    there = ", ".join(sorted(name for name in known if not name.startswith("__"))) or "none"
    raise ConfigError(f"no topic {wanted!r}", hint=f"there are: {there}")


class Reader:
    """Reads a topic's beginning or end, then what follows."""

    def __init__(self, consumer: "Consumer", topic: str) -> None:
        self._consumer, self._topic = consumer, topic
        self._partitions = range(kafka.partitions_of(consumer, topic))

    def first(self, number: int) -> Iterator[Message]:
        """The oldest records of each partition in turn, `number` at most."""
        ends = kafka.end_offsets(self._consumer, self._topic, self._partitions)
        self._assign(dict.fromkeys(self._partitions, OFFSET_BEGINNING))
        for _, message in zip(range(number), self._until(ends), strict=False):
            yield message

    def last(self, number: int) -> list[Message]:
        """The newest records over all partitions, oldest first."""
        ends = kafka.end_offsets(self._consumer, self._topic, self._partitions)
        span = number
        while True:  # a transaction's marker takes an offset and is no record: look further back if it was too short
            self._assign({p: max(0, end - span) for p, end in ends.items()})
            found = sorted(self._until(ends), key=lambda m: (m.timestamp()[1], m.partition(), m.offset()))
            if len(found) >= number or span >= max(ends.values(), default=0):
                return found[len(found) - number :] if number < len(found) else found
            span *= 4

    def follow(self) -> Iterator[Message]:
        """What comes, for ever."""
        while True:
            for message in self._consumer.consume(500, 0.2):
                if not _at_end(message):
                    yield kafka.check(message)

    def _assign(self, offsets: dict[int, int]) -> None:
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in offsets.items()])

    def _until(self, ends: dict[int, int]) -> Iterator[Message]:
        """Records below `ends`; returns when every partition has reached its own."""
        open_partitions = {p for p, end in ends.items() if end > 0}
        while open_partitions:
            for message in self._consumer.consume(500, 0.2):
                partition, offset = message.partition() or 0, message.offset() or 0
                if _at_end(message):
                    open_partitions.discard(partition)
                elif partition in open_partitions and kafka.check(message):
                    if offset + 1 >= ends[partition]:
                        open_partitions.discard(partition)
                    yield message


def _at_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own name


def _value(message: Message) -> str:
    return _plain(decode(message.topic() or "", message.value()))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def line(message: Message, *, as_json: bool) -> str:
    """One record on one line."""
    key, value = message.key(), decode(message.topic() or "", message.value())
    at = message.timestamp()[1] / 1000
    where: dict[str, Any] = {"partition": message.partition(), "offset": message.offset()}
    if as_json:
        shown_key = None if key is None else text(key)
        return msgspec.json.encode({**where, "at": at, "key": shown_key, "value": value}).decode()
    place = typer.style(f"{message.partition()}@{message.offset()}".ljust(9), dim=True)
    shown_key = typer.style("-" if key is None else text(key), fg="cyan")
    return f"{place} {typer.style(time_of(at)[11:], dim=True)}  {shown_key}  {_plain(value)}"
