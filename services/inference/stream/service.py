"""Predicting on the stream, without Kafka: chunks of events in, predictions and dead letters out.

Everything is by columns over the chunks of one round: decode, predict (`rounds`), encode (`outgoing`). A round is bound
to one version of each model. A record that cannot be processed becomes a dead letter; when too many cannot, or the
champion's version is at fault, the role ends before anything of the round is committed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from headrace.contracts.topics import EVENTS, dead_letters
from headrace.deadletters.letters import dead_letter
from headrace.model.pipeline import Pipeline
from headrace.streams.chunks import Chunk
from headrace.streams.delivery import Outgoing, Output
from headrace.streams.isolation import Breaker
from headrace.weights.worker.source import Bound
from services.inference.runner import ModelRunner
from services.inference.stream.champion import Champion
from services.inference.stream.decoding import BadRecord, Decoded, Decoder
from services.inference.stream.outgoing import Predictions, Writer, failures_of, trace_of
from services.inference.stream.rounds import Models, Round
from services.inference.stream.variants import Variant, VariantObserver
from services.inference.stream.version_check import VersionCheck

SERVICE = "inference-stream"


class Observer(VariantObserver, Protocol):
    """Who is told what happened; `services.inference.stream.metrics` in service."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase of one round took so long: decode, predict, encode, shadow; produce, offsets, commit."""
        ...

    def bound(self, version: int) -> None:
        """The round was predicted with this version of the champion."""
        ...

    def dead(self, phase: str, records: int) -> None:
        """So many records became dead letters."""
        ...


class StreamPredictor:
    """Chunks of the pipeline's events to an `Output` for its predictions topic.

    Args:
        pipeline: its event type and names.
        champion: predicts what no canary does.
        breaker: ends the role when too many records are bad.
        observer: told what happened.
        variants: the pipeline's further models, in the order of pipeline.yaml.
        same_partitions: see `Writer`.
        same_shadow_partitions: see `Writer`.
        check: tells a version that is at fault from an event that is.
        clock: monotonic seconds, for the log of further models' failures.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        champion: ModelRunner,
        breaker: Breaker,
        observer: Observer,
        *,
        variants: Sequence[ModelRunner] = (),
        same_partitions: bool = True,
        same_shadow_partitions: bool = True,
        check: VersionCheck | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._dead_letters = pipeline.name, dead_letters(EVENTS.name(pipeline.name))
        self._decoder = Decoder(pipeline)
        self._models = Models(
            Champion(champion, breaker, check or VersionCheck()),
            [Variant(runner, observer, clock) for runner in variants],
            observer,
        )
        self._writer = Writer(
            pipeline.name, same_partitions=same_partitions, same_shadow_partitions=same_shadow_partitions
        )
        self._breaker, self._observer = breaker, observer

    def process(self, chunks: Sequence[Chunk]) -> Output:
        """Everything that the chunks become, offsets included.

        Raises:
            DataError: too many of the records are bad; nothing is to be committed.
            WeightsError: records fail because of the version; nothing is to be committed.
        """
        output = Output.of(chunks)
        with self._models.lease() as models:
            with self._phase("decode"):
                decoded = self._decoder.decode(chunks)
            bad = decoded.bad + self._serve(models, decoded, output)
            if self._models.several:  # after what is served: a shadow that writes into an event cannot change it
                with self._phase("shadow"):
                    self._shadow(models, decoded, output)
            output.singles += [self._dead_letter(one, models.champion) for one in bad]
            self._observer.bound(models.champion.version)
        output.dead = len(bad)
        for phase in {one.phase for one in bad}:
            self._observer.dead(phase, sum(one.phase == phase for one in bad))
        self._breaker.count(len(bad), output.records, _describe(bad[0]) if bad else "")
        return output

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._observer.phase(name, time.perf_counter() - started)

    def _serve(self, models: Round, decoded: Decoded, output: Output) -> list[BadRecord]:
        """Put the answers into the output; returns the records that have none."""
        with self._phase("predict"):
            answers = models.answers(decoded.events, decoded.keys)
        with self._phase("encode"):
            for rows in decoded.rows:
                self._writer.serve(Predictions.of(rows, decoded.keys, answers), output)
        return [one for rows in decoded.rows for one in failures_of(rows, answers)] if answers.failed else []

    def _shadow(self, models: Round, decoded: Decoded, output: Output) -> None:
        for shadow, bound, answers in models.shadows(decoded.events):
            made = 0
            for rows in decoded.rows:
                predictions = Predictions.of(rows, decoded.keys, answers)
                errors = self._writer.shadow(predictions, output)
                made += len(predictions.records) - len(errors)
                if errors:
                    shadow.failed(bound, "encode", errors)
            shadow.predicted(made)

    def _dead_letter(self, bad: BadRecord, bound: Bound) -> Outgoing:
        letter = dead_letter(
            bad.record, phase=bad.phase, error=bad.error, service=SERVICE, model=self._name, version=bound.version
        )
        return Outgoing(self._dead_letters, bad.record.key(), letter, trace_of(bad.record))


def _describe(bad: BadRecord) -> str:
    record = bad.record
    return f"{record.topic()}[{record.partition()}] at {record.offset()}: {bad.phase}: {bad.error}"
