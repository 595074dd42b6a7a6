"""Labels, and versions that served before a worker did: what an agent tells workers of them."""

import pytest

from headrace.weights.worker.wire import Active, Kept, Staged
from tests.host_kit import V1, V2, V3, Host


@pytest.fixture
def host():
    return Host()


def served(host, *versions, keeps=3):
    """A worker that has served these versions, one after the other."""
    host.hello(1, "a", protocol=2, keeps=keeps)
    for of in versions:
        host.direct("STAGE", of)
        host.pull()
        host.hear(1, Staged(of.version, of.digest, {}))
        host.direct("ACTIVATE", of)
        host.hear(1, Active(of.version, of.digest, {}))


def test_a_worker_that_joins_is_told_to_keep_what_served_one_after_the_other(host):
    """Once it serves; the newest first."""
    served(host, V1, V2, V3)
    said = host.hello(2, "b", protocol=2, keeps=3)
    assert [one for one in said if one[1] in {"Stage", "Activate", "Keep"}] == [(2, "Stage", 3), (2, "Activate", 3)]
    host.hear(2, Staged(3, V3.digest, {}))
    assert host.hear(2, Active(3, V3.digest, {})) == [("b", "ACTIVE", 3), (2, "Keep", 2)]
    assert host.hear(2, Kept(2, V2.digest)) == [(2, "Keep", 1)]
    assert host.hear(2, Kept(1, V1.digest, "no slot")) == []
    assert host.told(host.agent.on_tick(host.now)) == [("a", "HEARTBEAT", 3), ("b", "HEARTBEAT", 3)]


def test_what_workers_keep_stays_in_shared_memory_and_has_slots(host):
    """As many as the worker that keeps most."""
    served(host, V1, V2, V3)
    assert host.agent.keeps("m") == {V1.digest, V2.digest, V3.digest}
    assert host.agent.slots("m") == 5
    host.hello(2, "b", protocol=2, keeps=9)
    assert host.agent.slots("m") == 11


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_worker_of_an_earlier_release_is_told_nothing_of_it(host, protocol):
    """It would give the connection up."""
    served(host, V1, V2)
    said = host.hello(2, "b", protocol=protocol)
    said += host.hear(2, Staged(2, V2.digest, {})) + host.hear(2, Active(2, V2.digest, {}))
    assert not [one for one in said if one[1] in {"Keep", "Label"}]


def test_labels_follow_the_directives_and_are_told_once(host):
    """`canary` is there while some workers try a version."""
    said = host.hello(1, "a", protocol=2)
    assert (1, "Label", {"stable": V1.digest}) not in said
    assert (1, "Label", {"stable": V1.digest}) in host.direct("ACTIVATE", V1)
    said = host.direct("CANARY", V2, canaries=["b"])
    assert (1, "Label", {"stable": V1.digest, "canary": V2.digest}) in said
    assert not [one for one in host.told(host.agent.on_tick(host.now)) if one[1] == "Label"]
    assert (1, "Label", {"stable": V2.digest}) in host.direct("ACTIVATE", V2)
    assert (2, "Label", {"stable": V2.digest}) in host.hello(2, "b", protocol=2)
