"""The agent's logic: directives and workers' words in, messages and reports out."""

import pytest
import torch

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.weights import MemoryChunkStore, publish_version, sign
from headrace.weights.worker.wire import Active, Failed, Hello, Released, Require, Staged
from services.ckpt.agent.driver import RETRY_S
from services.ckpt.agent.service import HostAgent
from services.ckpt.agent.state import Report, Send


def manifest(version: int, shape: tuple[int, ...] = (2,)):
    return publish_version(
        {"w": torch.full(shape, float(version))}, model="m", version=version, base_version=version - 1, epoch=1, step=1,
        offsets={}, metrics={}, store=MemoryChunkStore(), created_at=0,
    )  # fmt: skip


V1, V2, V3 = (manifest(version) for version in (1, 2, 3))
SCHEMA = V1.schema_hash


class Host:
    """A `HostAgent` with what it said."""

    def __init__(self, key: bytes | None = None) -> None:
        self.agent = HostAgent(agent="agent", host="here", signing_key=key, fence_grace_s=5.0)
        self.sequence = 0
        self.now = 100.0

    def direct(
        self, action: str, of, *, epoch: int = 1, sequence: int = 0, signature: str = "", digest: str = "", canaries=()
    ):
        self.sequence += 1
        directive = RolloutDirective(
            model="m", action=RolloutDirective.Action.Value(action), version=of.version, sequence=sequence or self.sequence,
            coordinator_epoch=epoch, manifest_digest=digest or of.digest, manifest=of.encode(), signature=signature,
            issued_at_us=int((self.now - 0.25) * 1e6), canaries=canaries,
        )  # fmt: skip
        return self.told(self.agent.on_directive(directive, self.now))

    def hello(
        self, connection: int, worker: str, *, schema: str = SCHEMA, serving: str = "", version: int = 0, holds=(), required="",
        protocol: int = 0,
    ):  # fmt: skip
        message = Hello(worker, "test", "m", schema, 1, version, serving, list(holds), required, protocol)
        return self.told(self.agent.on_message(connection, message, self.now))

    def hear(self, connection: int, message):
        return self.told(self.agent.on_message(connection, message, self.now))

    def pull(self):
        version = self.agent.next_pull(self.now)
        return self.told(self.agent.on_pulled(version, f"/slot/{version.version}", 10, 0.1, self.now))

    @staticmethod
    def told(effects):
        """Messages as (connection, kind, version or digest), reports as (worker, state, version)."""
        said = []
        for effect in effects:
            if isinstance(effect, Send):
                message = effect.message
                said.append((effect.connection, type(message).__name__, getattr(message, "version", message.digest)))
            else:
                state = WeightsApplied.State.Name(effect.applied.state)
                said.append((effect.applied.worker, state, effect.applied.version))
        return said

    def serving(self, connection: int, of):
        """Bring one worker to serve a version whose slot is ready."""
        self.hear(connection, Staged(of.version, of.digest, {}))
        return self.hear(connection, Active(of.version, of.digest, {}))


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


def test_it_knows_who_is_about_to_say_the_same(host):
    """Of the same version, and as long as it can still come."""

    def more(state: str) -> bool:
        return host.agent.more_to_come(WeightsApplied(model="m", state=state, version=1, manifest_digest=V1.digest))

    for connection, worker in enumerate("abc"):
        host.hello(connection, worker)
    host.direct("STAGE", V1)
    host.pull()
    assert more("STAGED")
    host.hear(0, Staged(1, V1.digest, {}))
    host.hear(1, Failed(1, V1.digest, "no"))
    assert more("STAGED")
    assert not more("ACTIVE")
    assert not more("FAILED")
    host.hear(2, Staged(1, V1.digest, {}))
    assert not more("STAGED")
    host.direct("ACTIVATE", V1)
    host.hear(0, Active(1, V1.digest, {}))
    assert more("ACTIVE")
    host.agent.on_gone(2, host.now)
    assert not more("ACTIVE")


def test_a_report_says_how_long_each_step_took(host):
    """From the directive's issue to the worker's flip."""
    host.hello(1, "a")
    host.direct("STAGE", V1)
    host.pull()
    (report,) = host.agent.on_message(1, Staged(1, V1.digest, {"stage": 0.5}), host.now)
    assert dict(report.applied.seconds) == pytest.approx({"announce": 0.25, "pull": 0.1, "stage": 0.5})
    assert (report.applied.bytes_pulled, report.applied.sequence, report.applied.host) == (10, 1, "here")


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
    [("", "", True), (sign(V1.encode(), b"other"), "", True), (sign(V1.encode(), b"key"), "f" * 32, True),
     (sign(V1.encode(), b"key"), "", False)],
)  # fmt: skip
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
    """Unsigned, unpullable or refused by the worker: the next one is staged all the same, and the active one retried."""
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
        model="m", action=RolloutDirective.STAGE, version=of.version, sequence=host.sequence, coordinator_epoch=1,
        manifest_digest=of.digest, manifest=of.encode(), peers=RolloutDirective.Peers(members=members, fan_out=1, stripes=1),
    )  # fmt: skip
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


def test_reports_say_where_the_agent_serves_and_what_came_from_peers(host):
    """Of the version that they are about."""
    host.agent.reporter.peer_address = "here:7000"
    host.hello(1, "a")
    host.direct("STAGE", V1)
    version = host.agent.next_pull(host.now)
    host.agent.on_pulled(version, "/slot/1", 10, 0.1, host.now, bytes_from_peers=7)
    (effect,) = host.agent.on_message(1, Staged(1, V1.digest, {}), host.now)
    assert (effect.applied.peer_address, effect.applied.bytes_pulled, effect.applied.bytes_from_peers) == (
        "here:7000",
        10,
        7,
    )
    (heartbeat,) = host.agent.on_tick(host.now)
    assert (heartbeat.applied.peer_address, heartbeat.applied.bytes_pulled) == ("here:7000", 0)
    host.direct("ACTIVATE", V1)
    host.hear(1, Active(1, V1.digest, {}))
    (heartbeat,) = host.agent.on_tick(host.now)
    assert (heartbeat.applied.bytes_pulled, heartbeat.applied.bytes_from_peers) == (10, 7)


def serving(host, *names: str, of=V1, also=()):
    """Workers 1, 2, ... that serve a version, which is active."""
    host.direct("ACTIVATE", of)
    for connection, name in enumerate(names, 1):
        holds = [of.digest, *(other.digest for other in also)]
        host.hello(connection, name, serving=of.digest, version=of.version, holds=holds, protocol=1)


def test_canaries_serve_a_version_and_the_others_hold_it_ready(host):
    """Then all do, without another word to the canaries."""
    serving(host, "a", "b", also=[V2])
    assert host.direct("CANARY", V2, canaries=["a"]) == [(1, "Activate", 2)]
    host.hear(1, Active(2, V2.digest, {}))
    assert host.told(host.agent.on_tick(host.now + 60)) == [("a", "HEARTBEAT", 2), ("b", "HEARTBEAT", 1)]
    assert host.agent.keeps("m") == {V1.digest, V2.digest}
    assert host.direct("ACTIVATE", V2) == [(2, "Activate", 2)]


def test_canaries_go_back_when_their_version_is_retired(host):
    """Those who only held it let it go."""
    serving(host, "a", "b", also=[V2])
    host.direct("CANARY", V2, canaries=["a"])
    host.hear(1, Active(2, V2.digest, {}))
    assert host.direct("RETIRE", V2, canaries=["a"]) == [(2, "Retire", V2.digest), (1, "Activate", 1)]
    assert host.hear(1, Active(1, V1.digest, {})) == [("a", "ACTIVE", 1)]


def test_a_canary_whose_flip_crosses_the_retirement_goes_back_too(host):
    """The word that it serves comes after the directive."""
    serving(host, "a", "b", also=[V2])
    host.direct("CANARY", V2, canaries=["a"])
    host.direct("RETIRE", V2, canaries=["a"])
    assert host.hear(1, Active(2, V2.digest, {})) == [("a", "ACTIVE", 2), (1, "Activate", 1)]


def test_a_restarted_agent_and_those_who_join_meanwhile_find_the_canaries(host):
    """It reads what compaction left: canaries by name, also when they have restarted; a joiner serves the active version."""
    host.direct("ACTIVATE", V1)
    host.direct("CANARY", V2, canaries=["a"])
    host.hello(1, "a", serving=V2.digest, version=2, holds=[V1.digest, V2.digest])
    host.hello(2, "joiner")
    assert host.pull() == [(2, "Stage", 1), (2, "Activate", 1)]
    host.hello(3, "a")
    assert host.told(host.agent.on_pulled(host.agent.next_pull(host.now), "/slot/2", 1, 0.1, host.now)) == [
        (3, "Stage", 2), (3, "Activate", 2)
    ]  # fmt: skip


def fences(effects) -> list[tuple[int, int]]:
    """(connection, version required)."""
    return [
        (e.connection, e.message.version) for e in effects if isinstance(e, Send) and isinstance(e.message, Require)
    ]


def test_an_ordinary_flip_fences_nobody_and_a_laggard_only_after_the_grace(host):
    """It hears what it must serve; its reports say that it is fenced, until it serves it."""
    serving(host, "a", "b", also=[V2])
    assert host.direct("ACTIVATE", V2) == [(1, "Activate", 2), (2, "Activate", 2)]
    host.hear(1, Active(2, V2.digest, {}))
    host.now += 4.9
    assert fences(host.agent.on_tick(host.now)) == []
    host.now += 0.1
    effects = host.agent.on_tick(host.now)
    assert fences(effects) == [(2, 2)]
    assert fences(host.agent.on_tick(host.now)) == []
    reports = [e.applied for e in host.agent.on_tick(host.now) if isinstance(e, Report)]
    assert {r.worker: r.fenced for r in reports} == {"a": False, "b": True}
    (active,) = host.agent.on_message(2, Active(2, V2.digest, {}), host.now)
    assert not active.applied.fenced
    host.now += 60
    assert fences(host.agent.on_tick(host.now)) == []


def test_whoever_catches_up_with_each_flip_is_never_behind_for_long(host):
    """Versions every few seconds, each served after a while."""
    serving(host, "a")
    for _ in range(5):
        for of in (V2, V1):
            host.direct("ACTIVATE", of)
            host.now += 3.0
            assert fences(host.agent.on_tick(host.now)) == []
            assert fences(host.agent.on_message(1, Active(of.version, of.digest, {}), host.now)) == []


def test_a_joiner_must_serve_what_is_active_by_then_and_not_what_was_when_it_came(host):
    """Told at once, and again when something else becomes active."""
    host.direct("ACTIVATE", V1)
    assert host.hello(1, "a", protocol=1) == [("a", "JOINED", 0), (1, "Require", 1), ("a", "HEARTBEAT", 0)]
    host.pull()
    assert (1, "Require", 2) in host.direct("ACTIVATE", V2)
    effects = host.agent.on_message(1, Active(1, V1.digest, {}), host.now)
    assert fences(effects) == []
    assert effects[0].applied.fenced


def test_a_fenced_worker_is_let_in_when_what_it_serves_becomes_active_again(host):
    """Rolling back comes upon a laggard that never went forward."""
    serving(host, "a")
    host.direct("ACTIVATE", V2)
    host.now += 10
    assert fences(host.agent.on_tick(host.now)) == [(1, 2)]
    assert host.direct("ROLL_BACK", V1) == [(1, "Require", 1), ("a", "HEARTBEAT", 1)]
    assert not host.agent.on_tick(host.now)[0].applied.fenced


def test_a_successor_of_the_agent_learns_from_the_worker_what_was_required(host):
    """And requires what is active by now."""
    host.direct("ACTIVATE", V3)
    told = host.hello(1, "a", serving=V1.digest, version=1, holds=[V1.digest], required=V2.digest, protocol=1)
    assert told == [("a", "JOINED", 1), (1, "Require", 3), ("a", "HEARTBEAT", 1)]


def test_workers_of_an_earlier_release_are_told_nothing_that_they_do_not_know(host):
    """They would give the connection up."""
    host.direct("ACTIVATE", V1)
    host.hello(1, "old")
    host.now += 60
    assert fences(host.agent.on_tick(host.now)) == []


def test_a_worker_that_cannot_serve_what_it_serves_is_reported_so(host):
    """Before it ends."""
    serving(host, "a")
    (report,) = host.agent.on_message(1, Failed(1, V1.digest, "all NaN", while_serving=True), host.now)
    assert (report.applied.state, report.applied.while_serving) == (WeightsApplied.FAILED, True)


def test_a_report_says_whether_the_stores_lost_something_of_the_version(host):
    """To its trainer; and not for a worker's own failure, nor once the version could be pulled after all."""
    host.hello(1, "a")
    host.direct("ACTIVATE", V1)

    def fail(lost):
        version = host.agent.next_pull(host.now)
        (report,) = host.agent.on_pull_failed(version, "chunk x is missing", host.now, lost=lost)
        host.now += RETRY_S
        return report.applied.chunks_lost

    assert [fail(lost=True), fail(lost=False), fail(lost=True)] == [True, False, True]
    host.pull()
    (report, *_) = host.agent.on_message(1, Failed(1, V1.digest, "cannot map it"), host.now)
    assert (report.applied.error, report.applied.chunks_lost) == ("cannot map it", False)


@pytest.mark.parametrize(("timeout_s", "by"), [(2.5, 102.5), (0.0, float("inf"))])
def test_a_worker_is_asked_to_stage_by_when_the_coordinator_stops_waiting(host, timeout_s, by):
    """An earlier release's coordinator does not say."""
    host.hello(1, "a")
    directive = RolloutDirective(
        model="m", action=RolloutDirective.STAGE, version=1, sequence=1, coordinator_epoch=1, manifest_digest=V1.digest,
        manifest=V1.encode(), stage_timeout_s=timeout_s,
    )  # fmt: skip
    host.agent.on_directive(directive, host.now)
    version = host.agent.next_pull(host.now)
    (send,) = host.agent.on_pulled(version, "/slot", 10, 0.1, host.now + 1)
    assert send.by == by
