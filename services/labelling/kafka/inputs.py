"""What the role reads: predictions, shadows, dead letters, labels and alerts, from where its state says.

It assigns itself all partitions and commits no offsets: how far it has read stands in its state, in the transaction
that writes what came of it.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from confluent_kafka import Message, TopicPartition
from google.protobuf.message import DecodeError

from headrace.contracts import topics
from headrace.contracts.events_pb2 import Alert, DeadLetter
from headrace.contracts.labelling import ITEM, LabelPositions, LetterOf
from headrace.contracts.plain_values import text
from headrace.model.pipeline import Pipeline
from headrace.model.slices import event_fields, slice_of_alert
from headrace.runtime import kafka
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from services.labelling.queues.candidates import Candidate, Offsets, Read

log = get_logger("headrace.label")

_BATCH = 5000
_LABELS_AGAIN = 10_000
"""Labels of each partition that are read again at a start: those that came before their event was predicted."""
_LONGEST_LETTER = 2000
AHEAD = {"queued.max.messages.kbytes": 16_384, "queued.min.messages": 10_000}
"""What a client fetches ahead at most: by default it would be four times as much, and ten times as many records."""
_MOST_SLICES = 1000
"""Slices that alerts name at the same time; more are not looked at."""
_LATE = "join"
"""The phase of labels that came too late: another label would come later still."""


class Inputs:
    """See the module. One thread.

    Attributes:
        at: the next offset of every partition.
        slices: what firing alerts name, by alert.
        unreadable: records that could not be decoded.
    """

    def __init__(self, settings: ServiceSettings, pipeline: Pipeline, history_s: float) -> None:
        self._pipeline, self._history_s = pipeline, history_s
        self._consumer = kafka.consumer(settings, f"headrace.labelling.{pipeline.name}", **AHEAD)
        self._models = {pipeline.model_name, *(other.model_name for other in pipeline.others)}
        self._fields = event_fields(pipeline.model.event_type())
        named = {spec: spec.name(pipeline.name) for spec in topics.PIPELINE_TOPICS}
        self._handlers: dict[str, Callable[[Read, Message], None]] = {
            named[topics.PREDICTIONS]: self._prediction,
            named[topics.LABELS]: self._label,
            topics.dead_letters(named[topics.EVENTS]): self._event_letter,
            topics.dead_letters(named[topics.LABELS]): self._label_letter,
            topics.ALERTS.name(): self._alert,
        }
        if pipeline.spec.has_shadows:
            self._handlers[named[topics.SHADOWS]] = self._shadow
        self._alerts, self._labels = topics.ALERTS.name(), named[topics.LABELS]
        self.at: Offsets = {}
        self.slices: dict[str, dict[str, Any]] = {}
        self.unreadable = 0

    def open(self, positions: LabelPositions) -> None:
        """Begin where the state says; topics that it does not know, `history_s` ago, and alerts at their beginning.

        Raises:
            DependencyError: the broker does not answer, or a topic does not exist.
        """
        self.slices = dict(positions.slices)
        self.at = {topic: self._starts(topic, positions.offsets.get(topic, {})) for topic in self._handlers}
        self._consumer.assign(
            [TopicPartition(topic, p, offset) for topic, starts in self.at.items() for p, offset in starts.items()]
        )

    def read(self, timeout_s: float) -> Read:
        """What has come, `_BATCH` records at most."""
        found = Read()
        self.at = {topic: dict(offsets) for topic, offsets in self.at.items()}  # whoever has the one before keeps it
        for message in self._consumer.consume(_BATCH, timeout_s):
            topic, partition = message.topic() or "", message.partition() or 0
            if message.error() is not None:
                kafka.check(message)
            self.at[topic][partition] = (message.offset() or 0) + 1
            try:
                self._handlers[topic](found, message)
            except (msgspec.MsgspecError, DecodeError, UnicodeDecodeError) as error:
                self.unreadable += 1
                where = f"{topic}[{partition}]@{message.offset()}"
                log.debug("a record cannot be decoded", where=where, error=str(error))
        return found

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    # Where to begin.

    def _starts(self, topic: str, known: Mapping[int, int]) -> dict[int, int]:
        partitions = range(kafka.partitions_of(self._consumer, topic))
        bounds = {p: self._bounds(topic, p) for p in partitions}
        missing = [p for p in partitions if p not in known]
        fresh = self._fresh(topic, missing, bounds) if missing else {}
        back = _LABELS_AGAIN if topic == self._labels else 0
        starts = {}
        for p, (low, high) in bounds.items():
            wanted = known[p] - back if p in known else fresh[p]
            if p in known and known[p] > high:
                log.warning("the topic was made anew: it is read from its beginning", where=f"{topic}[{p}]")
                wanted = low
            starts[p] = min(max(wanted, low), high)
        return starts

    def _fresh(self, topic: str, missing: list[int], bounds: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        if topic == self._alerts:
            return {p: bounds[p][0] for p in missing}
        at_ms = int((time.time() - self._history_s) * 1000)
        asked = [TopicPartition(topic, p, at_ms) for p in missing]
        doing = f"offsets of {topic} by time"
        found = kafka.patiently(lambda: self._consumer.offsets_for_times(asked, timeout=kafka.REQUEST_TIMEOUT_S), doing)
        return {tp.partition: tp.offset if tp.offset >= 0 else bounds[tp.partition][1] for tp in found}

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        where = TopicPartition(topic, partition)
        limit = kafka.REQUEST_TIMEOUT_S
        doing = f"bounds of {topic}[{partition}]"
        bounds = kafka.patiently(lambda: self._consumer.get_watermark_offsets(where, timeout=limit), doing)
        return bounds[0], bounds[1]

    # What each topic's records are.

    def _prediction(self, found: Read, message: Message) -> None:
        found.predictions.append(self._pipeline.prediction_decoder.decode(message.value() or b""))

    def _shadow(self, found: Read, message: Message) -> None:
        found.shadows.append(self._pipeline.prediction_decoder.decode(message.value() or b""))

    def _label(self, found: Read, message: Message) -> None:
        if any(header[0] == ITEM for header in message.headers() or ()):
            return  # ours
        key = message.key()
        if key is None:  # the producer sets no key, but the struct holds it
            key = self._pipeline.model.key_of(self._pipeline.label_decoder.decode(message.value() or b"")).encode()
        found.labels.append((key.decode(), message.timestamp()[1]))

    def _event_letter(self, found: Read, message: Message) -> None:
        """An event that could not be predicted; one that cannot be decoded either is nothing to label."""
        letter = DeadLetter.FromString(message.value() or b"")
        event = self._pipeline.event_decoder.decode(letter.value)
        made = self._letter(f"{letter.partition}-{letter.offset}", self._pipeline.model.key_of(event), letter, message)
        made.source, made.event = (letter.partition, letter.offset), letter.value
        found.letters.append(made)

    def _label_letter(self, found: Read, message: Message) -> None:
        """A label that could not be decoded: somebody may say what it should have been."""
        letter = DeadLetter.FromString(message.value() or b"")
        key = letter.key.decode()
        if letter.phase != _LATE and key:
            found.letters.append(self._letter(f"l{letter.partition}-{letter.offset}", key, letter, message))

    def _letter(self, item: str, key: str, letter: DeadLetter, message: Message) -> Candidate:
        shown = text(letter.value)[:_LONGEST_LETTER]
        of = LetterOf(letter.topic, letter.partition, letter.offset, letter.phase, letter.reason, shown)
        at_ms = letter.timestamp_ms or message.timestamp()[1]
        return Candidate(item, key, max(0, at_ms), model=letter.model, version=letter.model_version, letter=of)

    def _alert(self, _: Read, message: Message) -> None:
        alert = Alert.FromString(message.value() or b"")
        if alert.model not in self._models:
            return
        named = slice_of_alert(alert.id, self._fields) if alert.firing else None
        if named is not None and len(self.slices) < _MOST_SLICES:
            self.slices = {**self.slices, alert.id: named}
        elif alert.id in self.slices:
            self.slices = {name: one for name, one in self.slices.items() if name != alert.id}
