"""Faults that need a fleet of their own: a standby coordinator, and a quorum that bears a worker which cannot take part.

All others share a fleet under load: test_ckpt_deaths.py, test_ckpt_broken_stores.py, test_ckpt_bad_versions.py.
"""

import torch


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
