"""Contestant: Faust as its users run it.

On aiokafka, `async for` one event at a time, `send`; or, with --take, batches.
"""

import sys
import time
from typing import Any

import faust
import msgspec
import torch
from faust.serializers import codecs
from faust.types import EventT

from benchmarks.stream.task.event import Event
from benchmarks.stream.task.mlp import features, make_network, one_by_one
from benchmarks.stream.terms import Terms, told
from headrace.contracts.records import Prediction

MOST, WITHIN_S = 512, 0.1


class EventCodec(codecs.Codec):
    """msgspec, as the others have it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._decode = msgspec.json.Decoder(Event).decode

    def _dumps(self, value: bytes) -> bytes:
        return value

    def _loads(self, value: bytes) -> Event:
        return self._decode(value)


codecs.register("event", EventCodec())
encode = msgspec.json.Encoder().encode


def made(event: EventT, prediction: float) -> bytes:
    """The prediction's record."""
    of = event.message
    source, now = (of.partition, of.offset), time.time_ns() // 1000
    return encode(Prediction(event.value.id, prediction, "bench", 1, "faust", source, int(of.timestamp * 1000), now))


def build(terms: Terms, *, batches: bool) -> faust.App:
    """The app."""
    app = faust.App(
        terms.group,
        broker=f"kafka://{terms.servers}",
        datadir=str(terms.folder),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        producer_compression_type="lz4",
        producer_linger=5,
        broker_commit_interval=1.0,  # its 2.8 s would be too coarse to see a rate by
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
    )
    events = app.topic(terms.events, key_serializer="raw", value_serializer="event")
    predictions = app.topic(terms.predictions, key_serializer="raw", value_serializer="raw")
    predict, network = one_by_one(), make_network().eval()

    async def one_at_a_time(stream: Any) -> None:
        async for event in stream.events():
            await predictions.send(key=event.key, value=made(event, predict(event.value)))

    async def in_batches(stream: Any) -> None:
        async for batch in stream.take_events(MOST, within=WITHIN_S):
            with torch.inference_mode():
                found = network(features([event.value for event in batch]))[:, 0].tolist()
            for event, prediction in zip(batch, found, strict=True):
                await predictions.send(key=event.key, value=made(event, prediction))

    app.agent(events, name="predict")(in_batches if batches else one_at_a_time)
    return app


def main(argv: list[str]) -> None:
    """Predict until killed."""
    torch.set_num_threads(1)
    batches = "--take" in argv
    app = build(told([a for a in argv if a != "--take"]), batches=batches)
    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1:])
