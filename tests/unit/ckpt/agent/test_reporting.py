"""What the agent reports of its workers."""

import pytest

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.weights.worker.wire import Active, Failed, Staged
from services.ckpt.agent.driver import RETRY_S
from tests.host_kit import V1, Host, serving


@pytest.fixture
def host():
    return Host()


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
