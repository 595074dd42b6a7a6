"""SIGKILL at every named step of a rollout, under load.

See tests/faults/ckpt/mortal.py for how, loaded.py for what must hold.

Deaths follow one another: whoever takes a dead process's place finishes what it had begun, and then dies at the next
step.
"""

import signal
from typing import Any

import pytest

from headrace.contracts.events_pb2 import CheckpointPublished, Operation
from headrace.contracts.topics import CHECKPOINTS, SYSTEM_PARTITIONS
from tests.faults.ckpt.loaded import Loaded
from tests.faults.ckpt.mortal import Fate
from tests.faults.ckpt.proof import Caller
from tests.integration.ckpt.fleet import Applied
from tests.integration.rpc.rpc_process import start
from tests.line_kit import read_all
from tests.patience import WAIT_S

KILLED = -signal.SIGKILL


def events(loaded: Loaded, kafka: Any) -> list[tuple[int, int]]:
    """Version and trainer's epoch of every event of the model, in order."""
    found = read_all(kafka.bootstrap_servers, CHECKPOINTS.name(), SYSTEM_PARTITIONS, 1)
    mine = [CheckpointPublished.FromString(m.value() or b"") for m in found if m.key() == loaded.model.encode()]
    return [(event.version, event.epoch) for event in mine]


def test_a_trainer_that_dies_at_any_step_of_publishing_has_announced_each_version_once(
    loaded: Loaded, kafka: Any
) -> None:
    """Before the event nobody hears of the version, and the next trainer announces it.

    After it, the fleet serves it.
    """
    steps = ["event committed", "file written", "chunk 1 put", "event due", "event written"]
    first = loaded.version + 1
    for step in steps:
        version = loaded.version + 1
        loaded.trainer(version, Fate(step, version)).expect(KILLED)
        if version > first + 1:
            loaded.serves(version - 1)
        elif version == first:
            loaded.serves(version)
    loaded.trainer().expect(0)
    loaded.serves(loaded.version)
    told = [event for event in events(loaded, kafka) if event[0] >= first]
    assert [version for version, _ in told] == list(range(first, loaded.version + 1))
    assert [epoch for _, epoch in told] == sorted(epoch for _, epoch in told)


@pytest.mark.parametrize("action", ["STAGE", "ACTIVATE"])
def test_a_coordinator_that_dies_at_any_step_of_a_directive_skips_no_version(loaded: Loaded, action: str) -> None:
    """Before the transaction, in the open transaction, after it: its successor takes the rollout up where it was."""
    loaded.coordinator.kill()
    for step in ("decided", "written", "committed"):
        version = loaded.version + 1
        doomed = loaded.coordinate(Fate(f"{action} {step}", version))
        if step != "decided":
            loaded.serves(version - 1)
        loaded.publish()
        doomed.expect(KILLED)
    loaded.coordinate()
    loaded.serves(loaded.version)


def test_a_coordinator_that_dies_at_any_step_of_an_answer_answers_once(loaded: Loaded) -> None:
    """Each successor dies one step later.

    The roll back is neither lost nor done twice, which would go back two versions.
    """
    loaded.serves(loaded.publish())
    loaded.coordinator.kill()
    doomed = [loaded.coordinate(Fate("ROLL_BACK decided", loaded.version - 1))]
    loaded.operate(Operation.ROLL_BACK)
    for step in ("written", "committed"):
        doomed[-1].expect(KILLED)
        doomed.append(loaded.coordinate(Fate(f"ROLL_BACK {step}", loaded.version - 1)))
    doomed[-1].expect(KILLED)
    loaded.coordinate()
    loaded.serves(loaded.version - 1)
    loaded.operate(Operation.RESUME)
    loaded.serves(loaded.version)


def test_an_agent_that_dies_at_any_step_is_taken_over_from_without_a_skipped_version(loaded: Loaded) -> None:
    """In the middle of a pull, with a full slot, before and after its workers' words are reported."""
    steps = [
        "chunk 2 pulled", "slot filled", "STAGED to be reported", "STAGED reported", "ACTIVE to be reported",
        "ACTIVE reported",
    ]  # fmt: skip
    loaded.agent.kill()
    for step in steps:
        version = loaded.version + 1
        doomed = loaded.host(Fate(step, version))
        if step != steps[0]:
            loaded.serves(version - 1)
        loaded.publish()
        doomed.expect(KILLED)
    loaded.host()
    loaded.serves(loaded.version)


@pytest.mark.parametrize("step", ["warming up", "Staged said", "Active to be said"])
def test_a_worker_that_dies_at_any_step_of_a_swap_holds_nobody_up(loaded: Loaded, step: str) -> None:
    """While it stages, when it has said that it has, when it has flipped and not yet said so."""
    applied = Applied(loaded.fleet)
    victim = loaded.worker(f"victim {step}", Fate(step, loaded.version + 1))
    while applied.expect("ACTIVE", loaded.version).worker != f"victim {step}":
        pass
    loaded.publish()
    victim.expect(KILLED)
    loaded.serves(loaded.version)
    applied.close()


def test_the_death_of_a_serving_process_fails_only_its_own_requests(loaded: Loaded, tmp_path: Any) -> None:
    """In the middle of requests and of a swap; what it had answered was right."""
    process, endpoints = start(loaded.fleet.folder, pipeline=loaded.pipeline, instance="victim", log_dir=tmp_path)
    victim = Caller(endpoints["grpc"], loaded.model)
    try:
        victim.expect(loaded.version)
        loaded.publish()
        victim.answered(20)
        process.kill()
        victim.fails()
        loaded.serves(loaded.version)
    finally:
        process.kill()
        process.wait(WAIT_S)
        victim.stop()
    assert set(victim.answers) <= set(loaded.askers[0].answers)
