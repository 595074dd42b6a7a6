"""The real roles of the checkpoint engine, over ports that end the process at a named step.

A step is named by what is about to happen, or has just happened, to a version: "STAGE decided", "chunk 2 pulled",
"Staged said". The first time that it comes, the process sends itself a signal: SIGKILL, or SIGSTOP, so that a test can
change the world in the middle of something. Nothing of this is in the roles themselves: here their stores, logs, slots,
reports and sockets are wrapped, or a method of theirs that writes to one is.
"""

import itertools
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

from torch import nn

from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective, WeightsApplied
from headrace.runtime.lifecycle import Context
from headrace.weights import ChunkStore, LiveWeights
from headrace.weights.worker.wire import Stage, ToAgent
from services.ckpt.agent.app import AgentApp
from services.ckpt.agent.kafka import Reports
from services.ckpt.agent.pulling.slots import HostSlots
from services.ckpt.agent.state import Effect, Report
from services.ckpt.coordinator.app import CoordinatorApp
from services.ckpt.coordinator.kafka import Owned
from services.trainer.checkpoint import Checkpoint, CheckpointFolder
from services.trainer.kafka import KafkaAnnouncer
from services.trainer.publishing import Publisher


class Fate:
    """Which step a process does not survive.

    Args:
        step: its name; "" for a process that lives.
        version: the version that it is about.
        sends: the signal that it gets there.
    """

    def __init__(self, step: str = "", version: int = 0, sends: signal.Signals = signal.SIGKILL) -> None:
        self._due: tuple[str, int] | None = (step, version) if step else None
        self._sends = sends

    def at(self, step: str, version: int, first: Callable[[], object] = lambda: None) -> None:
        """A step is reached. ``first`` makes durable what the step says was done, where that may still be under way."""
        if self._due == (step, version):
            self._due = None
            first()
            os.kill(os.getpid(), self._sends)


class Wrapped:
    """Everything that is not redefined is the wrapped one's."""

    def __init__(self, inner: Any, fate: Fate) -> None:
        self.inner, self.fate = inner, fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class MortalStore(Wrapped):
    """A chunk store, every chunk of which takes ``slow_s`` to read.

    Steps: "chunk <n> pulled", "chunk <n> put", counted anew for each version.
    """

    def __init__(self, inner: ChunkStore, fate: Fate, slow_s: float = 0.0) -> None:
        super().__init__(inner, fate)
        self._slow_s = slow_s
        self.begin(0)

    def begin(self, version: int) -> None:
        """What follows is for this version."""
        self._version, self._numbers = version, itertools.count(1)

    def get_each(self, model: str, wanted: Sequence[tuple[str, memoryview]]) -> Generator[None, None, None]:
        with closing(self.inner.get_each(model, wanted)) as arriving:
            for _ in arriving:
                time.sleep(self._slow_s)
                self.fate.at(f"chunk {next(self._numbers)} pulled", self._version)
                yield

    def put(self, model: str, digest: str, data: Any) -> None:
        self.inner.put(model, digest, data)
        self.fate.at(f"chunk {next(self._numbers)} put", self._version)


# The coordinator.


class MortalCoordinator(CoordinatorApp):
    """Steps: "<ACTION> decided", "<ACTION> written" (in a transaction that is still open), "<ACTION> committed"."""

    def __init__(self, context: Context[Any], fate: Fate) -> None:
        super().__init__(context)
        self._log = _MortalLog(self._log, fate)


class _MortalLog(Wrapped):
    def issue(self, owned: Owned, directives: list[RolloutDirective]) -> None:
        producer = owned.producer
        self._meet("decided", directives)
        owned.producer = _Uncommitted(producer, lambda: self._meet("written", directives, producer.flush))
        self.inner.issue(owned, directives)
        owned.producer = producer
        self._meet("committed", directives)

    def _meet(self, what: str, directives: list[RolloutDirective], first: Callable[[], object] = lambda: None) -> None:
        for directive in directives:
            self.fate.at(f"{RolloutDirective.Action.Name(directive.action)} {what}", directive.version, first)


class _Uncommitted:
    """A producer that meets its fate when a transaction has everything but its end."""

    def __init__(self, inner: Any, meet: Callable[[], None]) -> None:
        self._inner, self._meet = inner, meet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit_transaction(self, *timeout: float) -> None:
        self._meet()
        self._inner.commit_transaction(*timeout)


# The agent.


class MortalAgent(AgentApp):
    """Steps: a store's, "slot filled", "<STATE> to be reported", "<STATE> reported"."""

    def __init__(self, context: Context[Any], fate: Fate, slow_s: float) -> None:
        super().__init__(context)
        self._delivery = _MortalDelivery(self._delivery, fate)
        self._puller._slots = _MortalSlots(self._puller._slots, fate, slow_s)


class _MortalDelivery(Wrapped):
    def open(self, reports: Reports) -> None:
        self.reports = _MortalReports(reports, self.fate)
        self.inner.open(self.reports)

    def deliver(self, effects: Iterable[Effect]) -> None:
        told = list(effects)
        for effect in told:
            if isinstance(effect, Report):
                self.reports.meet(effect.applied, "to be reported")
        self.inner.deliver(told)


class _MortalReports(Wrapped):
    def send(self, reports: Iterable[WeightsApplied]) -> None:
        self.inner.send(reports)
        for applied in reports:
            self.meet(applied, "reported")

    def meet(self, applied: WeightsApplied, what: str) -> None:
        self.fate.at(f"{WeightsApplied.State.Name(applied.state)} {what}", applied.version, self.inner.close)


class _MortalSlots(Wrapped):
    def __init__(self, inner: HostSlots, fate: Fate, slow_s: float) -> None:
        super().__init__(inner, fate)
        inner._store = self._store = MortalStore(inner._store, fate, slow_s)

    def fill(self, manifest: Any, *more: Any) -> Any:
        self._store.begin(manifest.version)
        filled = self.inner.fill(manifest, *more)
        self.fate.at("slot filled", manifest.version)
        return filled


# A worker.


class MortalWeights(LiveWeights):
    """Steps: "warming up", and of each word to the agent "<Word> to be said" and "<Word> said"."""

    def __init__(self, *arguments: Any, fate: Fate, **more: Any) -> None:
        super().__init__(*arguments, warm_up=self._rehearse, **more)
        self._fate, self._making = fate, 0
        self._client = _MortalClient(self._client, fate)

    def _make(self, order: Stage) -> Any:
        self._making = order.version
        return super()._make(order)

    def _rehearse(self, _network: nn.Module) -> None:
        self._fate.at("warming up", self._making)


class _MortalClient(Wrapped):
    def send(self, message: ToAgent) -> bool:
        word, version = type(message).__name__, getattr(message, "version", 0)
        self.fate.at(f"{word} to be said", version)
        sent: bool = self.inner.send(message)
        self.fate.at(f"{word} said", version)
        return sent


# The trainer's publisher.


class MortalPublisher(Publisher):
    """Steps: "file written", the durable store's, "event due", "event written" (not committed), "event committed"."""

    def __init__(
        self, folder: CheckpointFolder, store: Any, announcer: KafkaAnnouncer, fate: Fate, **more: Any
    ) -> None:
        self._fate = fate
        store._durable = self._chunks = MortalStore(store._durable, fate)  # which is written before the fast one
        super().__init__(folder, store, _MortalAnnouncer(announcer, fate), **more)

    def announce(self, checkpoint: Checkpoint) -> Any:
        version = checkpoint.header.version
        self._fate.at("file written", version)
        self._chunks.begin(version)
        return super().announce(checkpoint)


class _MortalAnnouncer(Wrapped):
    def announce(self, event: CheckpointPublished, letters: Any) -> None:
        self.fate.at("event due", event.version)
        producer = self.inner._producer
        self.inner._producer = _Uncommitted(
            producer, lambda: self.fate.at("event written", event.version, producer.flush)
        )
        self.inner.announce(event, letters)
        self.inner._producer = producer
        self.fate.at("event committed", event.version)
