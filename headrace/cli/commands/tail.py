"""`headrace tail TOPIC`: the records of a topic, decoded."""

from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views.records import line, value_alone
from headrace.launch.run_file import pipeline_of
from headrace.runtime import kafka
from headrace.runtime.topic_reader import TopicReader, resolve


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
    show = value_alone if values else partial(line, as_json=as_json)
    settings = connect(run, kafka_address)
    consumer = kafka.consumer(settings, "headrace.tail", **{"enable.partition.eof": True})
    try:
        name = resolve(topic, kafka.metadata(kafka.admin(settings)), pipeline_of(run))
        reader = TopicReader(consumer, name)
        for message in reader.first(number) if place is Place.START else reader.last(number):
            typer.echo(show(message))
        for message in reader.follow() if follow else ():
            typer.echo(show(message))
    except KeyboardInterrupt:
        return
    finally:
        consumer.close()
