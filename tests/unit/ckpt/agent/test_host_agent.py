"""The agent's logic: directives and workers' messages in, messages to workers and reports out."""

import pytest

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.weights import sign
from headrace.weights.worker.wire import Active, Failed, Released, Staged
from services.ckpt.agent.driver import RETRY_S
from tests.host_kit import V1, V2, V3, Host


@pytest.fixture
def host():
    return Host()


def test_one_pull_serves_every_worker_of_the_host(host):
    """Stage, acknowledgements, activate: in that order, each said once."""
    assert host.hello(1, "a") == [("a", "JOINED", 0)]
    assert host.hello(2, "b") == [("b", "JOINED", 0)]
    assert host.direct("STAGE", V1) == []
    assert host.agent.next_pull(host.now).version == 1
    assert host.pull() == [(1, "Stage", 1), (2, "Stage", 1)]
    assert host.agent.next_pull(host.now) is None
    assert host.hear(1, Staged(1, V1.digest, {"stage": 0.1})) == [("a", "STAGED", 1)]
    assert host.hear(2, Staged(1, V1.digest, {})) == [("b", "STAGED", 1)]
    assert host.direct("ACTIVATE", V1) == [(1, "Activate", 1), (2, "Activate", 1)]
    assert host.hear(1, Active(1, V1.digest, {"activate": 0.01})) == [("a", "ACTIVE", 1)]
    assert host.told(host.agent.on_tick(host.now)) == [("a", "HEARTBEAT", 1), ("b", "HEARTBEAT", 0)]


def test_a_late_joiner_gets_the_active_version_first_and_then_what_is_being_staged(host):
    """Also when no worker was there to pull for."""
    host.direct("ACTIVATE", V1)
    host.direct("STAGE", V2)
    assert host.agent.next_pull(host.now) is None
    host.hello(1, "a")
    assert host.pull() == [(1, "Stage", 1), (1, "Activate", 1)]
    assert host.pull() == []
    assert host.hear(1, Staged(1, V1.digest, {})) == [("a", "STAGED", 1)]
    assert host.hear(1, Active(1, V1.digest, {})) == [("a", "ACTIVE", 1), (1, "Stage", 2)]


def test_what_is_not_wanted_any_more_is_not_pulled(host):
    """A newer staging replaces the older; a pull under way learns of it."""
    host.hello(1, "a")
    host.direct("STAGE", V1)
    first = host.agent.next_pull(host.now)
    host.direct("STAGE", V2)
    assert not host.agent.wants(first)
    assert host.agent.next_pull(host.now).version == 2


def test_directives_of_an_older_coordinator_or_seen_before_do_nothing(host):
    """Epochs and sequences only rise."""
    host.hello(1, "a")
    host.direct("ACTIVATE", V2, epoch=2, sequence=7)
    host.direct("ACTIVATE", V1, epoch=1, sequence=8)
    host.direct("ACTIVATE", V1, epoch=2, sequence=7)
    assert host.agent.models["m"].active.version == 2


def test_rolling_back_activates_what_the_worker_still_holds(host):
    """No slot, no pull, no staging: one message."""
    host.hello(1, "a", serving=V2.digest, version=2, holds=[V1.digest, V2.digest])
    host.direct("ACTIVATE", V2)
    assert host.direct("ROLL_BACK", V1) == [(1, "Activate", 1)]
    assert host.agent.next_pull(host.now) is None


def test_a_worker_that_lost_what_it_held_stages_it_again(host):
    """It says so by failing to activate; the active version is tried again for ever, not more than twice a second."""
    host.hello(1, "a", serving=V2.digest, version=2, holds=[V1.digest, V2.digest])
    host.direct("ACTIVATE", V2)
    host.direct("ROLL_BACK", V1)
    assert host.hear(1, Failed(1, V1.digest, "not staged")) == [("a", "FAILED", 1)]
    assert host.pull() == []
    host.now += RETRY_S
    assert host.told(host.agent.on_tick(host.now)) == [("a", "HEARTBEAT", 2), (1, "Stage", 1), (1, "Activate", 1)]


def test_a_staged_version_that_a_worker_refused_is_not_offered_again(host):
    """The coordinator decides what becomes of it."""
    host.hello(1, "a")
    host.direct("STAGE", V1)
    host.pull()
    assert host.hear(1, Failed(1, V1.digest, "NaN")) == [("a", "FAILED", 1)]
    host.now += 60
    assert host.told(host.agent.on_tick(host.now)) == [("a", "HEARTBEAT", 0)]


def test_retiring_lets_a_staged_version_go_but_never_the_one_that_serves(host):
    """Workers that hold it are told."""
    host.hello(1, "a")
    host.hello(2, "b")
    host.direct("STAGE", V1)
    host.pull()
    host.hear(1, Staged(1, V1.digest, {}))
    assert host.direct("RETIRE", V1) == [(1, "Retire", V1.digest)]
    assert host.agent.next_pull(host.now) is None
    host.direct("ACTIVATE", V2)
    assert host.direct("RETIRE", V2) == []


def test_a_refusal_is_not_for_workers(host):
    """An operator asked for what cannot be done: nothing moves here, and what comes later counts."""
    host.hello(1, "a", serving=V1.digest, version=1, holds=[V1.digest])
    host.direct("ACTIVATE", V1)
    assert host.direct("REFUSE", V3) == []
    assert host.agent.next_pull(host.now) is None
    host.direct("STAGE", V2)
    assert host.agent.next_pull(host.now).version == 2


def test_a_worker_with_another_network_is_refused_before_a_byte_is_pulled(host):
    """Nobody here could take the version: it is not pulled at all."""
    host.hello(1, "a", schema="other")
    assert host.direct("STAGE", V1) == [("a", "FAILED", 1)]
    assert host.agent.next_pull(host.now) is None
    host.now += 5
    assert host.told(host.agent.on_tick(host.now)) == [("a", "HEARTBEAT", 0)]
    host.hello(2, "b")
    assert host.agent.next_pull(host.now).version == 1


@pytest.mark.parametrize(
    ("signature", "digest", "refused"),
    [
        ("", "", True),
        (sign(V1.encode(), b"other"), "", True),
        (sign(V1.encode(), b"key"), "f" * 32, True),
        (sign(V1.encode(), b"key"), "", False),
    ],
)
def test_unsigned_wrongly_signed_and_mismatched_manifests_are_refused(signature, digest, refused):
    """With a key set, only what the trainer signed is pulled."""
    host = Host(b"key")
    host.hello(1, "a")
    said = host.direct("STAGE", V1, signature=signature, digest=digest)
    assert (said == [("a", "FAILED", 1)]) == refused
    assert (host.agent.next_pull(host.now) is None) == refused


def test_a_version_that_cannot_be_pulled_has_failed_for_every_worker(host):
    """A staged one once; the active one is tried again."""
    host.hello(1, "a")
    host.hello(2, "b")
    host.direct("STAGE", V1)
    version = host.agent.next_pull(host.now)
    assert host.told(host.agent.on_pull_failed(version, "gone", host.now)) == [("a", "FAILED", 1), ("b", "FAILED", 1)]
    host.now += 60
    assert host.agent.next_pull(host.now) is None
    host.direct("ACTIVATE", V1)
    assert host.agent.next_pull(host.now) is version
    host.agent.on_pull_failed(version, "gone", host.now)
    assert host.agent.next_pull(host.now) is None
    assert host.agent.next_pull(host.now + RETRY_S) is version


def test_an_active_version_that_cannot_be_had_does_not_block_the_next_one(host):
    """Unsigned, unpullable or refused by the worker: the next one is staged, and the active one is retried."""
    host.hello(1, "a")
    host.direct("ACTIVATE", V1)
    host.pull()
    host.hear(1, Failed(1, V1.digest, "NaN"))
    host.direct("STAGE", V2)
    assert host.pull() == [(1, "Stage", 2)]
    host.now += RETRY_S
    assert host.told(host.agent.on_tick(host.now)) == [("a", "HEARTBEAT", 0)]
    assert host.hear(1, Staged(2, V2.digest, {})) == [("a", "STAGED", 2), (1, "Stage", 1), (1, "Activate", 1)]
    host.hear(1, Failed(1, V1.digest, "NaN"))
    assert host.direct("ACTIVATE", V2) == [(1, "Activate", 2)]


def test_an_unpullable_active_version_does_not_block_the_next_one_either(host):
    """And is served when its chunks turn up."""
    host.hello(1, "a")
    host.direct("ACTIVATE", V1)
    host.agent.on_pull_failed(host.agent.next_pull(host.now), "gone", host.now)
    host.direct("STAGE", V2)
    assert host.pull() == [(1, "Stage", 2)]
    host.hear(1, Staged(2, V2.digest, {}))
    host.now += RETRY_S
    assert host.pull() == [(1, "Stage", 1), (1, "Activate", 1)]


def test_a_worker_that_comes_back_is_one_worker_and_one_that_goes_has_left(host):
    """However late the end of its old connection is seen."""
    host.hello(1, "a")
    assert host.hello(2, "a", serving=V1.digest, version=1, holds=[V1.digest]) == [("a", "JOINED", 1)]
    assert host.told(host.agent.on_gone(1, host.now)) == []
    assert host.told(host.agent.on_tick(host.now)) == [("a", "HEARTBEAT", 1)]
    assert host.told(host.agent.on_gone(2, host.now)) == [("a", "LEFT", 1)]
    assert host.hear(2, Staged(1, V1.digest, {})) == []


def test_what_must_stay_in_shared_memory(host):
    """The active version, the one before, and the one being staged."""
    host.direct("ACTIVATE", V1)
    host.direct("ACTIVATE", V2)
    host.direct("STAGE", V3)
    assert host.agent.keeps("m") == {V1.digest, V2.digest, V3.digest}
    host.direct("ACTIVATE", V3)
    assert host.agent.keeps("m") == {V2.digest, V3.digest}


def test_staging_what_a_worker_holds_is_acknowledged_for_it(host):
    """Rolling back further than one version may come upon one that is still mapped."""
    host.hello(1, "a", serving=V2.digest, version=2, holds=[V1.digest, V2.digest])
    host.direct("ACTIVATE", V2)
    assert host.direct("STAGE", V1) == [("a", "STAGED", 1)]
    host.hear(1, Released(V1.digest))
    assert host.agent.next_pull(host.now).version == 1


def test_a_successor_acknowledges_what_a_worker_has_staged_by_then(host):
    """The agent before it died with the worker's word: the worker says it no more, and the coordinator waits for it."""
    host.direct("ACTIVATE", V1)
    host.direct("STAGE", V2)
    assert host.hello(1, "a", serving=V1.digest, version=1, holds=[V1.digest, V2.digest]) == [
        ("a", "JOINED", 1),
        ("a", "STAGED", 2),
    ]
    assert host.hello(2, "b", serving=V1.digest, version=1, holds=[V1.digest]) == [("b", "JOINED", 1)]


def test_everyone_has_left_when_the_agent_stops(host):
    """Nobody speaks for them any more."""
    host.hello(1, "a")
    assert host.told(host.agent.on_stop(host.now)) == [("a", "LEFT", 0)]


def with_plan(host, of, *agents: str):
    """A STAGE directive with a plan, in the coordinator's order."""
    host.sequence += 1
    members = [RolloutDirective.Peers.Member(agent=agent, address=f"{agent}:1") for agent in agents]
    directive = RolloutDirective(
        model="m",
        action=RolloutDirective.STAGE,
        version=of.version,
        sequence=host.sequence,
        coordinator_epoch=1,
        manifest_digest=of.digest,
        manifest=of.encode(),
        peers=RolloutDirective.Peers(members=members, fan_out=1, stripes=1),
    )
    return host.agent.on_directive(directive, host.now)


def test_a_version_is_pulled_by_the_plan_of_its_staging(host):
    """One without a plan, by none."""
    host.hello(1, "a")
    with_plan(host, V1, "agent", "other")
    assert [member.agent for member in host.agent.next_pull(host.now).peers.members] == ["agent", "other"]
    host.pull()
    host.serving(1, V1)
    host.direct("STAGE", V2)
    assert host.agent.next_pull(host.now).peers is None


def test_a_late_joiner_knows_the_peers_of_the_newest_plan(host):
    """It reads the activation of one version, and the staging of the next."""
    with_plan(host, V2, "agent", "other")
    host.direct("ACTIVATE", V1)
    host.hello(1, "a")
    late = host.agent.next_pull(host.now)
    assert late.version == 1
    assert len(late.peers.members) == 2


@pytest.mark.parametrize(("timeout_s", "by"), [(2.5, 102.5), (0.0, float("inf"))])
def test_a_worker_is_asked_to_stage_by_when_the_coordinator_stops_waiting(host, timeout_s, by):
    """An earlier release's coordinator does not say."""
    host.hello(1, "a")
    directive = RolloutDirective(
        model="m",
        action=RolloutDirective.STAGE,
        version=1,
        sequence=1,
        coordinator_epoch=1,
        manifest_digest=V1.digest,
        manifest=V1.encode(),
        stage_timeout_s=timeout_s,
    )
    host.agent.on_directive(directive, host.now)
    version = host.agent.next_pull(host.now)
    (send,) = host.agent.on_pulled(version, "/slot", 10, 0.1, host.now + 1)
    assert send.by == by
