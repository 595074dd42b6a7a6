"""Which workers are told that they are not ready, and when."""

import pytest

from headrace.weights.worker.wire import Active, Require
from services.ckpt.agent.state import Report, Send
from tests.host_kit import V1, V2, V3, Host, serving


@pytest.fixture
def host():
    return Host()


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
