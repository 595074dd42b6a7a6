"""A host some of whose workers are canaries."""

import pytest

from headrace.weights.worker.wire import Active
from tests.host_kit import V1, V2, Host, serving


@pytest.fixture
def host():
    return Host()


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
    """It reads what compaction left: canaries by name, also if restarted; a joiner serves the active version."""
    host.direct("ACTIVATE", V1)
    host.direct("CANARY", V2, canaries=["a"])
    host.hello(1, "a", serving=V2.digest, version=2, holds=[V1.digest, V2.digest])
    host.hello(2, "joiner")
    assert host.pull() == [(2, "Stage", 1), (2, "Activate", 1)]
    host.hello(3, "a")
    assert host.told(host.agent.on_pulled(host.agent.next_pull(host.now), "/slot/2", 1, 0.1, host.now)) == [
        (3, "Stage", 2), (3, "Activate", 2)
    ]  # fmt: skip
