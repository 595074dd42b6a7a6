"""Twins of the ends of the role `labelling` in memory: its state, what it reads, and single events."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from headrace.contracts.labelling import DECODER, LabelItem, LabelWork
from headrace.contracts.records import Prediction
from headrace.model.pipeline import Pipeline
from services.labelling.app import Ends, labelling_of, loop_of, store_of
from services.labelling.followers import Followers
from services.labelling.forms.labels import LabelForm
from services.labelling.kafka.state import State
from services.labelling.loop import Loop
from services.labelling.queues.candidates import Offsets, Read, Source
from services.labelling.service import Labelling
from services.labelling.settings import LabellingSettings
from services.labelling.work.store import LabelRecord, Outbox, Store


class MemoryState:
    """The twin of `services.labelling.kafka.state.StateLog`. `failing` makes the next commit fail as a whole."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.labels: list[LabelRecord] = []
        self.commits = 0
        self.failing: Exception | None = None

    def commit(self, outbox: Outbox) -> None:
        if self.failing is not None:
            raise self.failing
        self.commits += 1
        for key, value in outbox.state.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        self.labels += outbox.labels

    def poll(self) -> None:
        """Nothing to hear."""

    def read(self) -> State:
        """What a new process would find."""
        state = State()
        for value in self.records.values():
            record = DECODER.decode(value)
            if isinstance(record, LabelItem):
                state.items[record.id] = record
            elif isinstance(record, LabelWork):
                state.works[record.id] = record
            else:
                state.positions = record
        return state


class MemoryInputs:
    """The twin of `services.labelling.kafka.inputs.Inputs`: each read brings the next of `coming`."""

    def __init__(self) -> None:
        self.at: Offsets = {"predictions": {0: 0}}
        self.slices: dict[str, dict[str, Any]] = {}
        self.unreadable = 0
        self.coming: list[Read] = []

    def read(self, timeout_s: float) -> Read:
        if not self.coming:
            return Read()
        self.at = {"predictions": {0: self.at["predictions"][0] + 1}}
        return self.coming.pop(0)


class Heard:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def round(self, loop: Loop, labels: int, admitted: int) -> None:
        """Not of interest."""

    def counts(self, queues: bytes) -> None:
        self.told.append(msgspec.json.decode(queues))


class World:
    """A loop over twins; `now` is its clock, in seconds."""

    def __init__(self, pipeline: Pipeline, state: MemoryState | None = None, **settings: Any) -> None:
        self.pipeline, self.form, self.now = pipeline, LabelForm(pipeline), 1_000_000.0
        self.state, self.inputs, self.heard = state or MemoryState(), MemoryInputs(), Heard()
        self.events: dict[Source, bytes] = {}
        chosen = LabellingSettings(pipeline=Path(), **settings)
        self.store: Store = store_of(pipeline, chosen)
        held = self.state.read()
        self.store.load(held.items, held.works, held.positions)
        ends = Ends(self.state, self.inputs, self.fetch, self.heard)
        self.loop = loop_of(pipeline, chosen, self.form, self.store, ends)
        self.loop._clock = lambda: self.now
        self.desk = self.loop.parts.desk

    @property
    def now_ms(self) -> int:
        return round(self.now * 1000)

    def fetch(self, places: Sequence[Source]) -> Mapping[Source, bytes]:
        return {place: self.events[place] for place in places if place in self.events}

    def predicted(self, number: int, prediction: Any = 0.5, event: Any = None, **labels: Any) -> Prediction[Any]:
        """A prediction of event `number`, which is at that offset of partition 0."""
        key = f"k{number}"
        self.events[0, number] = msgspec.json.encode({"id": key, "x": float(number)} if event is None else event)
        return Prediction(key, prediction, self.pipeline.name, 1, "c", (0, number), self.now_ms, self.now_ms * 1000)

    def come(self, *predictions: Prediction[Any], **others: Any) -> None:
        """Predictions and what else a read brings."""
        self.inputs.coming.append(Read(list(predictions), **others))

    def round(self, seconds: float = 0.0) -> None:
        """Time passes, then one round."""
        self.now += seconds
        self.loop.round(0.0)


@contextmanager
def served(world: World) -> Iterator[tuple[Labelling, Followers]]:
    """The world's loop in a thread of its own, and what its REST app is made of."""
    over = threading.Event()
    labelling, followers = labelling_of(world.pipeline, world.form), Followers(4)
    world.heard.counts = followers.tell  # type: ignore[method-assign]
    labelling.start(world.loop)
    thread = threading.Thread(target=world.loop.run, args=(over.is_set,), name="labelling")
    thread.start()
    try:
        yield labelling, followers
    finally:
        over.set()
        thread.join()
