"""Swaps and deaths under load, through the serving protocol: no request fails, and every answer proves its version."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.weights import open_store
from tests.faults.ckpt.proof import Caller, fingerprint, put, state_of, write_pipeline
from tests.integration.ckpt.fleet import Fleet
from tests.integration.rpc.rpc_process import start, stop


@pytest.fixture
def callers(fleet: Fleet, tmp_path: Path) -> Iterator[list[Caller]]:
    made: list[Caller] = []
    yield made
    for caller in made:
        caller.stop()


def test_deaths_of_a_worker_and_of_the_agent_under_load_fail_no_request_of_the_others(
    fleet: Fleet, tmp_path: Path, callers: list[Caller]
) -> None:
    """Twelve versions; one of two workers is killed at a swap, and the agent at another, in the middle of requests."""
    fleet.coordinator("coordinator", "--stage-timeout-s", "20")
    agent = fleet.agent()
    pipeline = write_pipeline(tmp_path / "pipeline", fleet.model)
    folders = [tmp_path / name for name in ("survivor", "victim")]
    for folder in folders:
        folder.mkdir()
    (survivor, survivors), (victim, victims) = (
        start(fleet.folder, pipeline=pipeline, instance=folder.name, log_dir=folder) for folder in folders
    )
    store = open_store(fleet.settings)
    try:
        fleet.announce(put(fleet.model, 1, store))
        callers += [Caller(endpoints["grpc"], fleet.model) for endpoints in (survivors, victims)]
        kept, lost = callers
        for version in range(1, 13):
            if version > 1:
                fleet.announce(put(fleet.model, version, store))
            if version == 5:
                victim.kill()
                victim.wait(30)
            if version == 9:
                agent.kill()
                kept.answered(50)
                fleet.agent()
            kept.expect(version)
            if version < 5:
                lost.expect(version)
        kept.answered(50)
    finally:
        victim.kill()
        victim.wait(30)
        for caller in callers:
            caller.stop()
        assert stop(survivor) == 0
        store.close()
    proofs = {version: fingerprint(state_of(version)) for version in range(1, 13)}
    assert kept.errors == []
    assert {version for version, _ in kept.answers} == set(proofs)
    assert [answer for answer in kept.answers + lost.answers if proofs[answer[0]] != answer[1]] == []
    assert len(set(proofs.values())) == 12
    assert lost.errors
