"""Faults that need a fleet of their own.

A standby coordinator, and a quorum that bears a worker which cannot take part.

All others share a fleet under load: test_ckpt_deaths.py, test_ckpt_broken_stores.py, test_ckpt_bad_versions.py.
"""

import signal

import torch

from tests.integration.ckpt.fleet import Fleet, ask
from tests.patience import wait_for


def state_of(fleet: Fleet, version: int) -> str | None:
    """As `headrace ckpt history` tells it."""
    return {line["version"]: line["state"] for line in ask(fleet, "history")}.get(version)


def test_a_fleet_that_falls_silent_is_not_taken_for_an_empty_one(fleet, applied):
    """Its agent does not get on; what is published meanwhile has to be proven when it does again."""
    fleet.coordinator("coordinator", "--worker-ttl-s", "1")
    agent = fleet.agent()
    worker = fleet.local("w")
    fleet.publish(1)
    worker.expect(1)
    fleet.counts(1)
    agent.child.send_signal(signal.SIGSTOP)
    fleet.counts(0)
    fleet.publish(2, weight=float("nan"))
    wait_for(lambda: state_of(fleet, 2) not in {None, "waiting"})
    assert state_of(fleet, 2) == "staging"
    agent.child.send_signal(signal.SIGCONT)
    assert "NaN" in applied.expect("FAILED", 2).error
    fleet.publish(3)
    worker.expect(3)
    assert state_of(fleet, 2) == "retired"


def test_a_standby_coordinator_takes_over(fleet):
    """Whoever is left has all partitions."""
    first = fleet.coordinator("coordinator", "--session-timeout-s", "6")
    fleet.agent()
    worker = fleet.local("w")
    fleet.publish(1)
    worker.expect(1)
    fleet.coordinator("standby", "--session-timeout-s", "6")
    first.kill()
    fleet.publish(2)
    worker.expect(2)


def test_a_worker_of_another_network_is_told_and_the_others_go_on(fleet, applied):
    """With a quorum that bears it."""
    fleet.coordinator("coordinator", "--quorum", "1")
    fleet.agent()
    good = fleet.local("good")
    fleet.local("odd", build=lambda: torch.nn.Linear(3, 1))
    applied.expect("JOINED", 0)
    applied.expect("JOINED", 0)
    fleet.publish(1)
    good.expect(1)
    assert "schema" in applied.expect("FAILED", 1).error
