"""Live weights against a hand-written agent on a real socket: what a worker promises whoever leases from it.

All of it holds where the slot's memory is used in place, and where versions are copied to a device.
"""

import gc
import queue
import socket
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from headrace.runtime.devices.host import Host
from headrace.weights import LiveWeights, MemoryChunkStore, VersionFacts, publish_version, pull
from headrace.weights.errors import NotReady, SlotsBusy, WeightsError
from headrace.weights.host.slots import SlotPool
from headrace.weights.worker.wire import (
    PROTOCOL,
    Activate,
    Active,
    Failed,
    Hello,
    Released,
    Require,
    Retire,
    Stage,
    Staged,
    frame,
    frame_length,
    to_agent,
)
from tests.device_kit import SlowCopies
from tests.patience import WAIT_S


class Agent:
    """An agent that does what the test tells it to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a.sock"
        self.store = MemoryChunkStore()
        self.pool = SlotPool("test", limit=4, root=folder)
        self._sock = None
        self.listen()

    def listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path.unlink(missing_ok=True)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.settimeout(WAIT_S)

    def greet(self) -> Hello:
        self._sock, _ = self._listener.accept()
        self._sock.settimeout(WAIT_S)
        return self.hear(Hello)

    def say(self, message) -> None:
        self._sock.sendall(frame(message))

    def hear(self, kind):
        message = to_agent(self._exactly(frame_length(self._exactly(4))))
        assert isinstance(message, kind), message
        return message

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._sock.recv(size - len(data))
        return data

    def hang_up(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._listener.close()

    def close(self) -> None:
        self.hang_up()
        self.pool.close()

    def put(self, version: int, value: float | None = None, keep=()):
        bias = torch.full((1,), float(version) if value is None else value)
        manifest = publish_version(
            {"weight": torch.zeros(1, 2), "bias": bias},
            VersionFacts(model="m", version=version, base_version=version - 1, epoch=1, step=1),
            store=self.store,
        )
        slot = self.pool.acquire(manifest.size, keep)
        pull(manifest, self.store, slot.begin(manifest, manifest.digest), present=slot.chunks)
        slot.seal(manifest, manifest.digest)
        return Stage(version, manifest.digest, manifest.encode(), str(slot.path))

    def roll_out(self, version: int) -> Stage:
        order = self.put(version)
        self.say(order)
        assert self.hear(Staged).digest == order.digest
        self.say(Activate(version, order.digest))
        assert self.hear(Active).version == version
        return order


@pytest.fixture
def agent(tmp_path):
    made = Agent(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=[Host, SlowCopies], ids=["in place", "copied"])
def device(request):
    return request.param()


@pytest.fixture
def live(agent, device):
    changes, standings = queue.Queue(), queue.Queue()
    made = LiveWeights(
        agent.path, "m", lambda: nn.Linear(2, 1), worker="w", role="test", warm_up=lambda n: n(torch.zeros(1, 2)),
        on_change=changes.put, on_behind=standings.put, device=device,
    )  # fmt: skip
    made.changes, made.standings = changes, standings
    made.start()
    yield made
    made.stop()
    gc.collect()


def answer(live) -> tuple[int, int]:
    with live.lease() as bound, torch.inference_mode():
        return bound.version, int(bound.network(torch.ones(1, 2)))


def test_ready_only_when_a_version_was_activated(agent, live):
    """Staged is not serving."""
    hello = agent.greet()
    assert (hello.worker, hello.model, hello.version, hello.holds) == ("w", "m", 0, [])
    order = agent.put(1)
    agent.say(order)
    agent.hear(Staged)
    assert not live.wait_ready(0)
    with pytest.raises(NotReady), live.lease():
        pass
    agent.say(Activate(1, order.digest))
    seconds = agent.hear(Active).seconds
    assert live.wait_ready(WAIT_S)
    assert answer(live) == (1, 1)
    assert {"map", "check", "load", "warm_up", "stage", "activate"} <= seconds.keys()
    assert live.changes.get(timeout=WAIT_S).version == 1


def test_a_lease_keeps_its_version_through_two_flips_and_then_lets_its_memory_go(agent, live):
    """The slot is free only after the lease ended, and the agent is told."""
    agent.greet()
    orders = [agent.roll_out(1)]
    with live.lease() as bound:
        orders += [agent.roll_out(2), agent.roll_out(3)]
        assert live.version == 3
        assert (bound.version, int(bound.network(torch.ones(1, 2)))) == (1, 1)
        slot = agent.pool.find(orders[0].digest)
        assert not slot.try_lock()
    assert agent.hear(Released).digest == orders[0].digest
    assert slot.try_lock()
    slot.abandon()
    assert answer(live) == (3, 3)


def test_rolling_back_to_the_version_before_is_a_flip(agent, live):
    """It is still mapped and warm: nothing is staged again; and forth again."""
    agent.greet()
    one, two = agent.roll_out(1), agent.roll_out(2)
    for order in (one, two, one):
        agent.say(Activate(order.version, order.digest))
        agent.hear(Active)
        assert answer(live) == (order.version, order.version)


def test_bad_versions_are_refused_and_the_good_one_goes_on(agent, live):
    """NaN, a slot that holds something else, a manifest that is none, a version never staged."""
    agent.greet()
    good = agent.roll_out(1)
    nan = agent.put(2, value=float("nan"), keep={good.digest})
    wrong = Stage(3, "0" * 32, nan.manifest, nan.path)
    junk = Stage(4, "1" * 32, b"{}", nan.path)
    for order, reason in ((nan, "NonFinite"), (wrong, "SlotError"), (junk, "ManifestError")):
        agent.say(order)
        failed = agent.hear(Failed)
        assert (failed.version, failed.digest) == (order.version, order.digest)
        assert reason in failed.error
    agent.say(Activate(9, "9" * 32))
    assert "not staged" in agent.hear(Failed).error
    assert answer(live) == (1, 1)
    agent.roll_out(5)


def test_an_order_to_serve_may_come_while_the_version_is_still_being_staged(agent, live):
    """As a late joiner gets it: both at once."""
    agent.greet()
    order = agent.put(4)
    agent.say(order)
    agent.say(Activate(4, order.digest))
    agent.hear(Staged)
    assert agent.hear(Active).version == 4


def test_a_retired_version_is_let_go(agent, live):
    """Staged, and then not wanted."""
    agent.greet()
    agent.roll_out(1)
    order = agent.put(2)
    agent.say(order)
    agent.hear(Staged)
    agent.say(Retire(order.digest))
    assert agent.hear(Released).digest == order.digest
    assert answer(live) == (1, 1)


def test_serving_goes_on_without_the_agent_and_the_next_one_is_told_what_is_held(agent, live):
    """The agent dies; another listens on the same path."""
    agent.greet()
    one, two = agent.roll_out(1), agent.roll_out(2)
    agent.hang_up()
    assert answer(live) == (2, 2)
    agent.listen()
    hello = agent.greet()
    assert (hello.version, hello.serving) == (2, two.digest)
    assert set(hello.holds) == {one.digest, two.digest}
    agent.roll_out(3)
    assert answer(live) == (3, 3)


def test_many_threads_never_see_a_version_torn(agent, live):
    """While versions flip, every lease's network answers with the version that the lease names."""
    agent.greet()
    agent.roll_out(1)
    done, answers, errors = threading.Event(), [], []

    def serve():
        torch.set_num_threads(1)
        seen = set()
        try:
            while not done.is_set():
                version, said = answer(live)
                seen.add((version, said))
        except Exception as error:  # noqa: BLE001 - told to the test's thread
            errors.append(error)
        answers.append(seen)

    def next_of(kind):
        while not isinstance(message := agent.hear(kind | Released), kind):
            pass
        return message

    def put(version):
        while True:
            try:
                return agent.put(version)
            except SlotsBusy:  # a thread was interrupted in the middle of a lease of an older version
                agent.hear(Released)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in range(2, 16):
            order = put(version)
            agent.say(order)
            next_of(Staged)
            agent.say(Activate(version, order.digest))
            next_of(Active)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert all(version == said for seen in answers for version, said in seen)
    assert answer(live) == (15, 15)
    assert len(agent.pool) <= 4


def test_a_worker_that_is_behind_says_so_and_answers_until_it_serves_what_was_required(agent, live):
    """It finds out by itself; versions that it serves on the way there change nothing."""
    agent.greet()
    one = agent.roll_out(1)
    assert live.behind == ""
    three = agent.put(3, keep={one.digest})
    agent.say(Require(3, three.digest))
    assert live.standings.get(timeout=WAIT_S) == "the fleet serves version 3"
    assert answer(live) == (1, 1)
    for order in (agent.put(2, keep={one.digest, three.digest}), three):
        assert live.behind
        agent.say(order)
        agent.hear(Staged)
        agent.say(Activate(order.version, order.digest))
        agent.hear(Active)
    assert live.standings.get(timeout=WAIT_S) == ""
    assert (live.behind, answer(live)) == ("", (3, 3))


def test_a_worker_that_serves_what_is_required_is_not_behind(agent, live):
    """The fleet went back to what a laggard had never left."""
    agent.greet()
    one = agent.roll_out(1)
    agent.say(Require(2, "2" * 32))
    agent.say(Require(1, one.digest))
    assert [live.standings.get(timeout=WAIT_S) for _ in range(2)] == ["the fleet serves version 2", ""]


def test_losing_the_agent_makes_nobody_behind_and_lets_nobody_in(agent, live):
    """Its successor is told what was required."""
    agent.greet()
    agent.roll_out(1)
    agent.hang_up()
    agent.listen()
    assert agent.greet().required == ""
    assert live.behind == ""
    agent.say(Require(2, "2" * 32))
    assert live.standings.get(timeout=WAIT_S)
    agent.hang_up()
    agent.listen()
    hello = agent.greet()
    assert (hello.required, hello.protocol) == ("2" * 32, PROTOCOL)
    assert live.behind


def test_a_lease_that_ends_by_a_weights_error_tells_the_fleet_that_the_version_cannot_serve(agent, live):
    """With the version that was bound, whatever serves by then; other errors are nobody's fault."""
    agent.greet()
    one = agent.roll_out(1)
    with pytest.raises(ValueError, match="an event"), live.lease():
        raise ValueError("an event")

    def predict():
        with live.lease():
            agent.roll_out(2)
            raise WeightsError("predicts nothing")

    with pytest.raises(WeightsError):
        predict()
    failed = agent.hear(Failed)
    assert (failed.version, failed.digest, failed.error, failed.while_serving) == (
        1,
        one.digest,
        "predicts nothing",
        True,
    )


def test_a_model_may_want_infinity_among_its_weights(agent):
    """`Model.finite` is False: nothing is looked for."""
    made = LiveWeights(agent.path, "m", lambda: nn.Linear(2, 1), worker="w", role="test", finite=False)
    made.start()
    agent.greet()
    agent.say(agent.put(1, value=float("inf")))
    assert agent.hear(Staged).version == 1
    made.stop()
