"""What guards a fleet from a bad version, on real Kafka: canaries, alerts, failing workers, weights that are NaN."""

import time

import pytest

from headrace.weights.errors import WeightsError
from tests.integration.ckpt.fleet import Fleet, Local, ask
from tests.patience import WAIT_S

NAMES = ("a", "b", "c")


def history(fleet: Fleet) -> dict[int, tuple[str, str]]:
    return {line["version"]: (line["state"], line["cause"]) for line in ask(fleet, "history")}


def canary_of(workers: dict[str, Local], version: int) -> Local:
    """Wait until one of the workers serves the version."""
    deadline = time.monotonic() + WAIT_S
    while not (found := [worker for worker in workers.values() if worker.live.version == version]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (canary,) = found
    return canary


def states_of(fleet):
    """Each worker's state, as `headrace ckpt status` says."""
    return {worker["worker"]: worker["state"] for worker in ask(fleet, "status")["workers"]}


@pytest.fixture
def workers(fleet: Fleet) -> dict[str, Local]:
    fleet.agent()
    return {name: fleet.local(name) for name in NAMES}


def test_a_canary_serves_first_and_all_follow_although_the_coordinator_is_killed_meanwhile(fleet, workers):
    """Who takes over knows the canary, and how long it has to go, from Kafka alone."""
    flags = ("--canary-share", "0.1", "--canary-s", "8")
    coordinator = fleet.coordinator("coordinator", *flags)
    fleet.publish(1)
    for worker in workers.values():
        worker.expect(1)
    fleet.counts(len(workers))
    fleet.publish(2)
    canary = canary_of(workers, 2)
    coordinator.kill()
    assert sorted(worker.live.version for worker in workers.values()) == [1, 1, 2]
    deadline = time.monotonic() + WAIT_S
    while sorted(states_of(fleet).values()) != ["canary", "serving", "serving"]:  # with the next heartbeats
        assert time.monotonic() < deadline, states_of(fleet)
    assert states_of(fleet)[canary.live.worker] == "canary"
    assert ask(fleet, "status")["active"][fleet.model]["canary"]["workers"] == [canary.live.worker]
    fleet.coordinator("coordinator", *flags)
    for worker in workers.values():
        worker.expect(2)
    assert history(fleet)[2] == ("active", "")


def test_an_alert_about_the_canarys_version_keeps_it_from_all_others(fleet, workers):
    """The canary serves the version before again, at once; the next version gets its chance."""
    fleet.coordinator("coordinator", "--canary-share", "0.1", "--canary-s", "600")
    fleet.publish(1)
    for worker in workers.values():
        worker.expect(1)
    fleet.counts(len(workers))
    fleet.publish(2)
    canary = canary_of(workers, 2)
    fleet.alert(2)
    canary.expect(1)
    assert canary.answer() == (1, 1)
    fleet.publish(3)
    assert canary_of(workers, 3) is canary, "the same fleet has the same canaries"
    assert [worker.seen() for worker in workers.values() if worker is not canary] == [[], []]
    assert history(fleet)[2] == ("taken back", "alert")


def test_an_alert_takes_the_served_version_back_and_so_does_a_worker_that_cannot_serve_it(fleet, workers):
    """Each once, to the version before; nothing is pinned, and newer versions come."""
    fleet.coordinator()
    for version in (1, 2):
        fleet.publish(version)
        for worker in workers.values():
            worker.expect(version)
        fleet.counts(len(workers))
    fleet.alert(2)
    for worker in workers.values():
        worker.expect(1)
    fleet.publish(3)
    for worker in workers.values():
        worker.expect(3)
    with pytest.raises(WeightsError), workers["a"].live.lease():
        raise WeightsError("version 3 predicts nothing")
    for worker in workers.values():
        worker.expect(1)
    assert history(fleet) == {3: ("taken back", "failures"), 2: ("taken back", "alert"), 1: ("active", "")}


def test_weights_that_are_nan_never_serve(fleet, workers, applied):
    """They are refused where they are staged, and the fleet goes on to the next version."""
    fleet.coordinator()
    fleet.publish(1)
    for worker in workers.values():
        worker.expect(1)
    fleet.counts(len(workers))
    fleet.publish(2, weight=float("nan"))
    assert "NaN" in applied.expect("FAILED", 2).error
    fleet.publish(3)
    for worker in workers.values():
        assert worker.changes.get(timeout=WAIT_S).version == 3
    assert ask(fleet, "history")[1]["state"] == "retired"
