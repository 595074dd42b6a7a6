"""SIGKILL of any one role, of the broker and of Redis while flights are replayed.

The supervisor starts it again, a server at the same address and the broker on its data, and the run goes on. No
prediction and no join is lost or doubled.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from headrace.contracts import topics
from headrace.model.pipeline import load_pipeline
from tests.e2e.conftest import FLIGHTS, ROLES, Run, wait_for
from tests.patience import WAIT_S

pytestmark = pytest.mark.timeout(600)  # the first test waits until the whole run is up


@pytest.fixture(scope="module")
def replay(run: Run) -> Iterator[Run]:
    """The run, flights flowing into it until the end of the module."""
    run.wait_ready()
    argv = [sys.executable, "-m", "headrace", "produce", str(FLIGHTS), "--rate", "300", "--kafka", run.kafka]
    producing = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield run
    producing.terminate()
    producing.communicate(timeout=WAIT_S)


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_killed_service_comes_back(replay: Run, role: str) -> None:
    before = len(replay.read(topics.PREDICTIONS.name("flights")))
    killed = replay.kill(role)
    replay.wait_restarted(role, killed)
    wait_for(
        lambda: len(replay.read(topics.PREDICTIONS.name("flights"))) > before + 100,
        f"predictions after {role} was killed",
    )


@pytest.mark.parametrize("server", ["kafka", "redis"])
def test_a_killed_server_comes_back_at_its_address_and_every_role_goes_on(replay: Run, server: str) -> None:
    address = replay.endpoint(server, server)
    events = len(replay.read(topics.EVENTS.name("flights")))
    before = len(replay.read(topics.PREDICTIONS.name("flights")))
    restarts = replay.status[server]["restarts"]
    killed = replay.kill(server)
    replay.wait_restarted(server, killed)
    assert replay.status[server]["restarts"] == restarts + 1
    assert replay.endpoint(server, server) == address
    assert {s.name: s.process.pid for s in replay.platform_servers() if s.process}[server] != killed
    shown = replay.headrace("status", "--run-dir", str(replay.folder)).stdout
    assert [line.split()[3] for line in shown.splitlines() if line.startswith(server)] == [str(restarts + 1)]
    assert len(replay.read(topics.EVENTS.name("flights"))) >= events
    wait_for(
        lambda: len(replay.read(topics.PREDICTIONS.name("flights"))) > before + 100,
        f"predictions after {server} was killed",
    )
    replay.wait_ready()


def test_after_all_of_that_nothing_was_lost_or_doubled(replay: Run) -> None:
    pipeline = load_pipeline(FLIGHTS)

    def sources() -> Counter[tuple[int, int]]:
        read = replay.read(topics.PREDICTIONS.name("flights"))
        return Counter(pipeline.prediction_decoder.decode(r.value()).source for r in read)

    events = {(r.partition(), r.offset()) for r in replay.read(topics.EVENTS.name("flights"))}
    predicted = wait_for(lambda: found if events <= set(found := sources()) else None, "predicting every event")
    assert predicted is not None
    assert [s for s, n in predicted.items() if n > 1] == []

    labels = {(r.partition(), r.offset()) for r in replay.read(topics.LABELS.name("flights"))}

    def joined() -> Counter[tuple[int, int]]:
        read = replay.read(topics.EXAMPLES.name("flights"))
        return Counter(pipeline.example_decoder.decode(r.value()).label_source for r in read)

    pairs = wait_for(lambda: found if labels <= set(found := joined()) else None, "joining every label")
    assert pairs is not None
    assert [s for s, n in pairs.items() if n > 1] == []
