"""Which versions may be removed: never one that the lineage of a served model's version needs.

A version of a model needs the sets that it was trained on, those they were made from, and what its ancestors need. The
sets are named in its event on headrace.checkpoints, which is kept for a while, and in marks beside the sets, which a
training job leaves before it publishes and which stay: a set with a mark is needed unless that version was refused,
whatever has become of its event.
"""

import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from headrace.contracts import topics
from headrace.contracts.events_pb2 import CheckpointPublished
from headrace.datasets import layout
from headrace.datasets.catalogue import Catalogue
from headrace.datasets.errors import SetInUse
from headrace.datasets.manifest import Manifest
from headrace.datasets.opening import Access
from headrace.rollouts.history import RolloutHistory
from headrace.rollouts.reading import APPLIED, CHECKPOINTS, ROLLOUTS, read_history
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

NEVER_SERVED = ("refused",)
"""States of versions that never served. One that is "skipped" may have served before its directives were compacted."""
DATA, SETS = "data", "datasets"
"""Where a checkpoint's origin names sets: in its data, which is JSON."""
_ALL = 1 << 30


class History(RolloutHistory):
    """Keeps the checkpoints' events too."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[CheckpointPublished] = []

    def on_checkpoint(self, published: CheckpointPublished, at_us: int) -> None:
        """See `RolloutHistory.on_checkpoint`."""
        super().on_checkpoint(published, at_us)
        self.published.append(published)

    def never_served(self) -> set[tuple[str, int]]:
        """Versions of models that were refused."""
        return {(one.model, one.version) for one in self.versions(_ALL) if one.state in NEVER_SERVED}


def read_needs(settings: ServiceSettings) -> History:
    """What became of all models' versions, as the system topics tell it.

    Raises:
        DependencyError: Kafka does not answer: then nothing may be removed.
    """
    kafka.ensure_topics(settings, topics.system_topics())
    history = History()
    read_history(settings, history, {CHECKPOINTS: 0.0, ROLLOUTS: 0.0, APPLIED: 0.0, topics.REFUSALS.name(): 0.0})
    return history


def mark_use(catalogue: Catalogue, references: Iterable[Mapping[str, str]], model: str, version: int) -> None:
    """Leave a mark at each set that a model's version learns from; durable before the version is published.

    Raises:
        DependencyError: the store refuses.
    """
    for one in references:
        name, _, number = one["set"].partition("@")
        mark = {"model": model, "version": version, "digest": one["digest"], "at_us": time.time_ns() // 1000}
        catalogue.store.replace(f"{layout.uses(name, int(number))}/{model}@{version}.json", msgspec.json.encode(mark))


def sets_of(published: CheckpointPublished) -> list[str]:
    """The sets that a version learned from, by its event: `name@version`."""
    try:
        data = msgspec.json.decode(published.origin.get(DATA, "{}"))
        return [str(one["set"]) for one in data.get(SETS, ())]
    except (msgspec.DecodeError, AttributeError, TypeError, KeyError):
        return []  # what others wrote


class Needs:
    """Who needs which set."""

    def __init__(self, catalogue: Catalogue, history: History) -> None:
        self._catalogue = catalogue
        self._never = history.never_served()
        self._by: dict[str, str] = {}
        for event in history.published:
            if (event.model, event.version) not in self._never:
                for name in sets_of(event):
                    self._need(name, f"{event.model} version {event.version} learned from it")
        for name in catalogue.names():
            for version in catalogue.versions(name):
                for model, number in self._marks(name, version):
                    if (model, number) not in self._never:
                        self._need(f"{name}@{version}", f"{model} version {number} learned from it")

    def of(self, manifest: Manifest) -> str:
        """Who needs a version; "" if nobody does."""
        return self._by.get(manifest.set, "")

    def _marks(self, name: str, version: int) -> Iterator[tuple[str, int]]:
        for mark in self._catalogue.store.names(layout.uses(name, version)):
            model, _, number = mark.removesuffix(".json").rpartition("@")
            if number.isdigit():
                yield model, int(number)

    def _need(self, name: str, reason: str) -> None:
        if name in self._by:
            return
        self._by[name] = reason
        own, _, number = name.partition("@")
        if number.isdigit() and int(number) in self._catalogue.every_version(own):
            for parent in self._catalogue.manifest_of(own, int(number)).parents:
                self._need(parent, f"{name} was made from it, and {reason.replace('it', name, 1)}")


def remove(access: Access, manifest: Manifest) -> None:
    """Remove a version.

    Raises:
        SetInUse: a served version's lineage needs it.
        DependencyError: Kafka does not answer, so that nobody knows; or the store refuses.
    """
    needs = Needs(access.catalogue, read_needs(access.settings))
    access.catalogue.remove(manifest, access.announcer, needs.of(manifest))


def apply_retention(access: Access, name: str, keep: int) -> tuple[list[str], dict[str, str]]:
    """Remove a set's oldest versions beyond `keep`; those that went, and those that are needed, with the reason.

    Raises:
        DependencyError: Kafka does not answer, or the store refuses.
    """
    over = access.catalogue.versions(name)[:-keep]
    if not over:
        return [], {}
    needs = Needs(access.catalogue, read_needs(access.settings))
    gone: list[str] = []
    kept: dict[str, str] = {}
    for version in over:
        manifest = access.catalogue.manifest_of(name, version)
        try:
            access.catalogue.remove(manifest, access.announcer, needs.of(manifest))
            gone.append(manifest.set)
        except SetInUse:
            kept[manifest.set] = needs.of(manifest)
    return gone, kept
