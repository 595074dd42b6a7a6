"""Every reader of directives understands the same: coordinator, agent, follower, monitor, history, operator."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.rollouts.directives import record_key
from headrace.rollouts.history import RolloutHistory
from headrace.rollouts.operations import OperatedModel
from headrace.runtime.settings import ServiceSettings
from headrace.weights import FollowedWeights, Manifest, MemoryChunkStore, VersionFacts, open_store, publish_version
from headrace.weights.worker import following
from services.ckpt.agent.service import HostAgent
from services.ckpt.coordinator.policy import Policy
from services.ckpt.coordinator.service import Rollout
from services.monitor.fleet import Fleet
from tests.directive_kit import MODEL, Coordinators, directive
from tests.patience import WAIT_S

WORKERS = ("a", "b", "c")


def network() -> nn.Module:
    return nn.Linear(2, 1)


def publish(version: int, store: MemoryChunkStore) -> Manifest:
    state = {"weight": torch.full((1, 2), float(version)), "bias": torch.zeros(1)}
    return publish_version(
        state,
        VersionFacts(
            model=MODEL,
            version=version,
            base_version=version - 1,
            epoch=1,
            step=1,
            offsets={},
            metrics={},
            created_at=0,
        ),
        store=store,
    )


@cache
def manifest(version: int) -> Manifest:
    return publish(version, MemoryChunkStore())


@dataclass(frozen=True)
class Meaning:
    """What directives mean: the active version, whether it is pinned, and what each worker is to serve.

    `pinned` is None of a reader to whom it makes no difference.
    """

    active: int
    pinned: bool | None
    meant: tuple[int, ...]


# The six readers.


def coordinator(directives: list[RolloutDirective]) -> Meaning:
    """A successor, which is left what compaction leaves."""
    heir = Rollout(MODEL, epoch=99, policy=Policy())
    heir.restore(list({record_key(told): told for told in directives if told.model == MODEL}.values()), 0.0)
    canary, active = heir.judge.canary, heir.view.active_version
    found = heir.ledger.find(canary.digest) if canary is not None else None
    names = canary.names if canary is not None else frozenset()
    meant = tuple(found.version if found is not None and worker in names else active for worker in WORKERS)
    return Meaning(active, heir.view.pinned, meant)


def agent(directives: list[RolloutDirective]) -> Meaning:
    host = HostAgent(agent="agent", host="here")
    for told in directives:
        host.on_directive(told, 0.0)
    model = host.models[MODEL]
    meant = tuple(found.version if (found := model.meant_for(worker)) else 0 for worker in WORKERS)
    return Meaning(model.active.version if model.active else 0, None, meant)


def monitor(directives: list[RolloutDirective]) -> Meaning:
    fleet = Fleet(MODEL)
    for told in directives:
        fleet.directive(told)
    shown = fleet.versions()
    canary = shown.canary
    meant = tuple(canary.version if canary and worker in canary.workers else shown.active for worker in WORKERS)
    return Meaning(shown.active, shown.pinned, meant)


def history(directives: list[RolloutDirective]) -> Meaning:
    known = RolloutHistory(MODEL)
    for told in directives:
        known.on_directive(told)
    for worker in WORKERS:
        known.on_report(WeightsApplied(model=MODEL, worker=worker, state=WeightsApplied.HEARTBEAT))
    workers = known.workers(0)
    return Meaning(workers[0].active, known.view(MODEL).pinned, tuple(worker.meant for worker in workers))


def operator(directives: list[RolloutDirective]) -> Meaning:
    model = OperatedModel(MODEL)
    for told in directives:
        model.on_directive(told)
    view = model.view
    meant = tuple(found.version if (found := view.meant_for(worker)) else 0 for worker in WORKERS)
    return Meaning(view.active_version, view.pinned, meant)


READERS: dict[str, Callable[[list[RolloutDirective]], Meaning]] = {
    reader.__name__: reader for reader in (coordinator, agent, monitor, history, operator)
}

Step = tuple[str, int] | tuple[str, int, list[str]]
ROLLED_OUT: list[Step] = [("STAGE", 1), ("ACTIVATE", 1), ("STAGE", 2)]
CANARIED: list[Step] = [*ROLLED_OUT, ("CANARY", 2, ["a", "c"])]
CASES: dict[str, tuple[list[Step], Meaning]] = {
    "nothing": ([("STAGE", 1)], Meaning(0, pinned=False, meant=(0, 0, 0))),
    "staging": (ROLLED_OUT, Meaning(1, pinned=False, meant=(1, 1, 1))),
    "canaries": (CANARIED, Meaning(1, pinned=False, meant=(2, 1, 2))),
    "other canaries": ([*CANARIED, ("CANARY", 2, ["b"])], Meaning(1, pinned=False, meant=(1, 2, 1))),
    "taken back": ([*CANARIED, ("RETIRE", 2, ["a", "c"])], Meaning(1, pinned=False, meant=(1, 1, 1))),
    "activated": ([*CANARIED, ("ACTIVATE", 2)], Meaning(2, pinned=False, meant=(2, 2, 2))),
    "rolled back": ([*ROLLED_OUT, ("ACTIVATE", 2), ("ROLL_BACK", 1)], Meaning(1, pinned=True, meant=(1, 1, 1))),
    "refused": ([*CANARIED, ("REFUSE", 77)], Meaning(1, pinned=False, meant=(2, 1, 2))),
}


def written(steps: list[Step], made: Callable[[int], Manifest] = manifest) -> list[RolloutDirective]:
    """The steps as coordinators write them, each by another one."""
    coordinators = Coordinators(made)
    for action, version, *canaries in steps:
        coordinators.write(action, version, *canaries, pinned=action == "ROLL_BACK")
        coordinators.take_over()
    return coordinators.log


def disturbed(log: list[RolloutDirective]) -> list[RolloutDirective]:
    """With a repetition, a fenced coordinator's late order and another model's directive after each of them."""
    noise: list[RolloutDirective] = []
    for number, told in enumerate(log):
        late = directive("ROLL_BACK", 9, 99, epoch=told.coordinator_epoch - 1, pinned=True)
        noise += [told, log[number // 2], late, directive("ACTIVATE", 8, 99, epoch=99, model="other")]
    return noise


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", CASES)
def test_every_reader_understands_the_same(case: str, reader: str) -> None:
    steps, meaning = CASES[case]
    if reader == "agent":
        meaning = replace(meaning, pinned=None)
    assert READERS[reader](written(steps)) == meaning
    if reader != "coordinator":  # which alone can write to its partition
        assert READERS[reader](disturbed(written(steps))) == meaning


class Feed:
    """Gives a follower directives that are there already."""

    directives: ClassVar[list[RolloutDirective]] = []

    def __init__(self, *_: object) -> None:
        pass

    def run(
        self, stop: object, on_directive: Callable[[RolloutDirective], None], on_caught_up: Callable[[], None]
    ) -> None:
        for told in self.directives:
            on_directive(told)
        on_caught_up()
        assert isinstance(stop, following.threading.Event)
        stop.wait()


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(redis_url="", storage_dir=tmp_path, run_dir=tmp_path)


@pytest.mark.parametrize("case", [case for case, (_, meaning) in CASES.items() if meaning.active])
def test_a_follower_serves_the_active_version_too(
    case: str, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the store, by the same directives."""
    steps, meaning = CASES[case]
    store = open_store(settings)
    made = {version: publish(version, store) for version in (1, 2, 77)}
    monkeypatch.setattr(Feed, "directives", disturbed(written(steps, made.__getitem__)))
    monkeypatch.setattr(following, "DirectiveFeed", Feed)
    followed = FollowedWeights(settings, MODEL, network)
    followed.start()
    try:
        assert followed.wait_ready(WAIT_S)
        assert (followed.version, followed.error) == (meaning.active, "")
    finally:
        followed.stop()
