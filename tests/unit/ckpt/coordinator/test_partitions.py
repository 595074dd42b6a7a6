"""What one coordinator does for the models of its partitions."""

from typing import Any, cast

import pytest

from headrace.contracts.events_pb2 import CheckpointPublished, Operation, RolloutDirective, WeightsApplied
from services.ckpt.coordinator.kafka import Owned
from services.ckpt.coordinator.partitions import OwnedPartitions
from services.ckpt.coordinator.plan import PeerPlanner, PeerPolicy
from services.ckpt.coordinator.policy import Policy
from tests.rollout_kit import steps

LONG_AGO_US = 1


class Log:
    """Transactions, each with its directives and the offset of the operations that it commits; -1 for none."""

    def __init__(self) -> None:
        self.transactions: list[tuple[list[RolloutDirective], int]] = []

    def issue(self, owned: Owned, directives: list[RolloutDirective]) -> None:
        if directives or owned.answered >= 0:
            self.transactions.append((directives, owned.answered))
            owned.answered = -1


class Partition:
    """One partition that was taken over, of which nothing is left to be read."""

    def __init__(self) -> None:
        self.log = Log()
        self.owned = Owned(0, cast("Any", None), directives=[])
        self.partitions = OwnedPartitions(Policy(), PeerPlanner(PeerPolicy()))
        self.partitions.on_taken(self.owned)

    def publish(self, model: str, version: int) -> None:
        digest = f"{model}-{version}"
        self.partitions.on_event(
            self.owned, CheckpointPublished(model=model, version=version, epoch=1, manifest_digest=digest)
        )

    def request(self, model: str, offset: int) -> None:
        self.owned.answered = offset + 1
        self.partitions.on_event(self.owned, Operation(id="r", model=model, kind=Operation.ROLL_BACK))

    def decided(self) -> list[tuple[list[tuple[str, int]], int]]:
        """What the transactions since say."""
        self.log.transactions.clear()
        self.partitions.decide(self.log)
        return [(steps(directives), offset) for directives, offset in self.log.transactions]


@pytest.fixture
def partition() -> Partition:
    return Partition()


def test_an_answer_and_the_offset_of_its_request_are_one_transaction_whatever_other_models_are_there(
    partition: Partition,
) -> None:
    """Else a coordinator that dies between the two would lose the request."""
    for model in ("first", "second", "third"):
        for version in (1, 2):
            partition.publish(model, version)
            partition.decided()
    partition.request("second", offset=7)
    assert partition.decided() == [([("ROLL_BACK", 1)], 8)]
    assert partition.decided() == []


def test_a_request_about_a_model_that_is_not_known_is_refused(partition: Partition) -> None:
    partition.request("nobody", offset=3)
    assert partition.decided() == [([("REFUSE", 0)], 4)]


def test_nothing_is_decided_or_swept_before_everything_was_read(partition: Partition) -> None:
    partition.owned.behind = {"checkpoints"}
    partition.publish("m", 1)
    assert partition.decided() == []
    assert list(partition.partitions.rollouts()) == []
    partition.owned.behind = set()
    assert partition.decided() == [([("STAGE", 1), ("ACTIVATE", 1)], -1)]
    assert [rollout.ledger.model for rollout in partition.partitions.rollouts()] == ["m"]


@pytest.mark.parametrize(("behind", "alive"), [({"applied"}, []), (set(), ["w"])])
def test_a_report_read_at_a_takeover_is_as_old_as_it_says_and_a_live_one_has_just_come(
    partition: Partition, behind: set[str], alive: list[str]
) -> None:
    partition.owned.behind = behind
    report = WeightsApplied(model="m", worker="w", state=WeightsApplied.HEARTBEAT, at_us=LONG_AGO_US)
    partition.partitions.on_event(partition.owned, report)
    partition.owned.behind = set()
    partition.decided()
    (rollout,) = partition.partitions.rollouts()
    assert list(rollout.fleet.alive) == alive


def test_a_partition_that_was_given_up_is_decided_for_no_more(partition: Partition) -> None:
    partition.publish("m", 1)
    partition.partitions.on_lost(0)
    assert (len(partition.partitions), partition.decided()) == (0, [])
