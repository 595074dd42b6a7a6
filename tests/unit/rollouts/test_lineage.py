"""From a version back to where it began, with the examples that each step learned from."""

from typing import Any

from headrace.contracts.events_pb2 import CheckpointPublished, PartitionOffset
from headrace.rollouts.lineage import lineage_of


def published(
    version: int, base: int, *offsets: int, epoch: int = 1, model: str = "m", **origin: str
) -> CheckpointPublished:
    return CheckpointPublished(
        model=model,
        version=version,
        base_version=base,
        epoch=epoch,
        step=10 * version,
        manifest_digest=f"d{version}",
        offsets=[PartitionOffset(topic="m.examples", partition=p, offset=o) for p, o in enumerate(offsets)],
        created_at_us=1000 * version,
        origin={"code": "c1", **origin},
    )


def steps(events: list[CheckpointPublished], version: int) -> list[tuple[Any, ...]]:
    found = lineage_of(events, "m", version)
    assert found is not None
    return [(s.first, s.last, s.base, s.learned.get("m.examples")) for s in found.steps]


def test_one_trainers_versions_are_one_step_and_a_restart_begins_another() -> None:
    events = [
        published(1, 0, 0, 0), published(2, 1, 10, 5), published(3, 2, 20, 9),
        published(4, 3, 30, 9, epoch=2), published(5, 4, 40, 12, epoch=2),
    ]  # fmt: skip
    assert steps(events, 5) == [(4, 5, 3, {0: (20, 40), 1: (9, 12)}), (1, 3, 0, {0: (0, 20), 1: (0, 9)})]
    assert steps(events, 2) == [(1, 2, 0, {0: (0, 10), 1: (0, 5)})]


def test_other_code_begins_another_step() -> None:
    events = [published(1, 0, 0), published(2, 1, 10), published(3, 2, 20, code="c2")]
    assert steps(events, 3) == [(3, 3, 2, {0: (10, 20)}), (1, 2, 0, {0: (0, 10)})]


def test_what_a_job_handed_over_stands_alone_and_begins_anew() -> None:
    events = [
        published(1, 0, 0), published(2, 1, 90), published(3, 0, 50, epoch=2, job="j"),
        published(4, 3, 60, epoch=3), published(5, 4, 70, epoch=3),
    ]  # fmt: skip
    assert steps(events, 5) == [(4, 5, 3, {0: (50, 70)}), (3, 3, 0, {0: (0, 50)})]
    found = lineage_of(events, "m", 5)
    assert found is not None
    assert (found.checkpoint, found.step, found.complete) == ("d5", 50, True)
    assert found.steps[1].origin["job"] == "j"


def test_what_retention_has_deleted_is_said_and_not_made_up() -> None:
    found = lineage_of([published(7, 6, 70), published(8, 7, 80)], "m", 8)
    assert found is not None
    assert not found.complete
    assert [(s.first, s.last, s.learned["m.examples"]) for s in found.steps] == [(7, 8, {0: (70, 80)})]


def test_a_partition_that_was_added_later_begins_at_its_beginning() -> None:
    assert steps([published(1, 0, 5), published(2, 1, 8, 3)], 2) == [(1, 2, 0, {0: (0, 8), 1: (0, 3)})]


def test_other_models_and_repeated_events_change_nothing() -> None:
    events = [published(1, 0, 5), published(1, 0, 5), published(2, 1, 9), published(2, 0, 1, model="other")]
    assert steps(events, 2) == [(1, 2, 0, {0: (0, 9)})]
    assert lineage_of(events, "m", 9) is None
