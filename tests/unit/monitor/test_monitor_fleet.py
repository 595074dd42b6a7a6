"""Versions, freshness and workers."""

import pytest

from headrace.contracts.events_pb2 import CheckpointPublished, PartitionOffset, RolloutDirective, WeightsApplied
from headrace.contracts.snapshot import Canary
from services.monitor.fleet import Fleet


def checkpoint(version: int, label_us: int = 0) -> CheckpointPublished:
    offsets = [PartitionOffset(topic="toy.examples", partition=0, offset=version * 10)]
    return CheckpointPublished(
        model="toy", version=version, newest_label_us=label_us, offsets=offsets, metrics={"examples": version * 10.0}
    )


def activate(version: int, sequence: int, **fields: object) -> RolloutDirective:
    return RolloutDirective(model="toy", action=RolloutDirective.ACTIVATE, version=version, sequence=sequence, **fields)


def applied(state: int, version: int, worker: str = "w", **fields: object) -> WeightsApplied:
    return WeightsApplied(model="toy", worker=worker, role="stream", host="h", state=state, version=version, **fields)


def test_freshness_runs_from_the_newest_label_to_the_first_prediction_of_its_version() -> None:
    fleet = Fleet("toy")
    fleet.checkpoint(checkpoint(2, label_us=1_000_000))
    fleet.prediction(0, 2, at_us=2_500_000)
    fleet.prediction(0, 2, at_us=9_000_000)
    assert (fleet.freshness.count, fleet.freshness.p50) == (1, 1.5)


def test_freshness_does_not_care_which_of_the_two_was_read_first() -> None:
    fleet = Fleet("toy")
    fleet.prediction(0, 2, at_us=2_500_000)
    fleet.checkpoint(checkpoint(2, label_us=1_000_000))
    fleet.checkpoint(checkpoint(2, label_us=1_000_000))
    assert (fleet.freshness.count, fleet.freshness.p50) == (1, 1.5)


def test_the_first_weights_know_no_label_and_have_no_freshness() -> None:
    fleet = Fleet("toy")
    fleet.checkpoint(checkpoint(1))
    fleet.prediction(0, 1, at_us=5)
    assert fleet.freshness.count == 0


def test_versions_newest_active_and_serving() -> None:
    fleet = Fleet("toy")
    for version in (1, 2, 3):
        fleet.checkpoint(checkpoint(version))
    fleet.directive(activate(1, sequence=2))
    fleet.directive(activate(2, sequence=4))
    fleet.prediction(0, 1, at_us=100)
    fleet.prediction(0, 2, at_us=200)
    fleet.prediction(1, 1, at_us=150)
    versions = fleet.versions()
    assert (versions.newest, versions.active, versions.serving) == (3, 2, (1, 2))
    assert (versions.checkpoints, versions.served, versions.swaps, versions.examples) == (3, 2, 1, 30)
    assert versions.first_prediction_us == 100
    assert fleet.checkpoint_offsets == {("toy.examples", 0): 30}


def test_a_partition_long_silent_does_not_say_what_is_serving() -> None:
    fleet = Fleet("toy")
    fleet.prediction(0, 1, at_us=0)
    fleet.prediction(1, 2, at_us=60_000_000)
    assert fleet.versions().serving == (2,)


def test_a_rollback_pins() -> None:
    fleet = Fleet("toy")
    fleet.directive(activate(2, sequence=4))
    back = RolloutDirective(model="toy", action=RolloutDirective.ROLL_BACK, version=1, sequence=6, pinned=True)
    fleet.directive(back)
    assert (fleet.versions().active, fleet.versions().pinned, fleet.versions().swaps) == (1, True, 1)
    fleet.directive(activate(2, sequence=5))
    assert fleet.versions().active == 1, "a directive that was overtaken says nothing"


def test_workers_come_serve_and_go() -> None:
    fleet = Fleet("toy")
    fleet.applied(applied(WeightsApplied.JOINED, 0))
    fleet.applied(applied(WeightsApplied.ACTIVE, 1))
    fleet.applied(applied(WeightsApplied.STAGED, 2))
    assert [(w.worker, w.state, w.version) for w in fleet.workers] == [("w", "STAGED", 1)]
    fleet.applied(applied(WeightsApplied.HEARTBEAT, 1, at_us=7))
    assert [(w.state, w.at_us) for w in fleet.workers] == [("STAGED", 7)]
    fleet.applied(applied(WeightsApplied.LEFT, 1))
    assert fleet.workers == ()


def test_a_failed_worker_stays_failed_until_it_does_better() -> None:
    fleet = Fleet("toy")
    fleet.applied(applied(WeightsApplied.ACTIVE, 1))
    fleet.applied(applied(WeightsApplied.FAILED, 2, error="tensor missing"))
    fleet.applied(applied(WeightsApplied.HEARTBEAT, 1))
    assert [(w.worker, w.version, w.error) for w in fleet.failed] == [("w", 1, "tensor missing")]
    assert [(w.state, w.error) for w in fleet.workers] == [("FAILED", "tensor missing")]
    fleet.applied(applied(WeightsApplied.ACTIVE, 3))
    assert fleet.failed == ()


def directive(action: int, version: int, sequence: int, canaries: tuple[str, ...] = ()) -> RolloutDirective:
    return RolloutDirective(
        model="toy",
        action=action,
        version=version,
        sequence=sequence,
        manifest_digest=f"d{version}",
        canaries=canaries,
        canary_until_us=9,
    )


@pytest.mark.parametrize("end", ["ACTIVATE", "RETIRE", "ROLL_BACK"])
def test_a_version_is_on_canaries_until_it_is_activated_or_taken_back(end: str) -> None:
    fleet = Fleet("toy")
    fleet.directive(directive(RolloutDirective.ACTIVATE, 1, 1))
    fleet.directive(directive(RolloutDirective.CANARY, 2, 2, ("a", "b")))
    assert fleet.versions().canary == Canary(2, ("a", "b"), 9)
    version, canaries = {"ACTIVATE": (2, ()), "RETIRE": (2, ("a", "b")), "ROLL_BACK": (1, ())}[end]
    fleet.directive(directive(RolloutDirective.Action.Value(end), version, 3, canaries))
    assert (fleet.versions().canary, fleet.versions().active) == (None, 2 if end == "ACTIVATE" else 1)


def test_what_another_model_or_a_fenced_coordinator_says_changes_nothing() -> None:
    fleet = Fleet("toy")
    fleet.directive(activate(1, sequence=1, coordinator_epoch=2))
    fleet.directive(activate(2, sequence=7, coordinator_epoch=1))
    fleet.directive(RolloutDirective(model="other", action=RolloutDirective.ACTIVATE, version=3, sequence=9))
    assert (fleet.versions().active, fleet.versions().swaps) == (1, 0)
