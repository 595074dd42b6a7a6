"""Faults, each a method of `Chaos`, and what a supervisor does about what they leave.

Faults are real: signals, a real broker that is stopped, killed or frozen, and a second producer of the same
transactional id. Those of a transaction happen at a named step of it, at which the worker halts
(`tests/stream_worker.py`).
"""

import os
import random
import signal
import socket
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer

from headrace.platform import LocalPlatform
from tests.patience import WAIT_S
from tests.stream_kit import PipelineRun, Worker, wait_for

SESSION_S = 4.0
"""How long the broker waits for a member that is silent, as `conftest.py` sets it."""
SHORT_MS, LONG_MS = 2000, 20_000
"""Transaction timeouts of the workers, in turn: shorter than the session, and longer."""
_TIMED_OUT_S = SHORT_MS / 1000 + 1.5  # the broker looks for such transactions once a second
_REPLACED = {3, 4}  # a dependency failed; fenced
_POISONED = {5, 6}  # too many bad records; the weights are at fault


class Chaos:
    """Keeps about two workers alive, and does things to them.

    `done` counts faults by kind, `ends` workers by exit code.
    """

    KINDS = (
        "kill", "freeze", "long_freeze", "join", "leave", "slow_version", "nan_version", "raising_version",
        "broker_stop", "broker_kill", "broker_pause", "fence", "transaction_timeout", "revoke_before_offsets",
        "rebalance_in_commit", "broker_pause_in_commit", "broker_kill_in_commit",
    )  # fmt: skip

    def __init__(self, river: PipelineRun, broker: LocalPlatform, seed: int) -> None:
        self._river, self._broker = river, broker
        self._random = random.Random(seed)
        self._started = 0
        self._version = 0
        self._suspects: set[Worker] = set()
        self.workers: list[Worker] = []
        self.done: Counter[str] = Counter()
        self.ends: Counter[int] = Counter()
        self._serve("sound")
        for _ in range(2):
            self._start()

    def strike(self, kind: str) -> None:
        """One fault, and what a supervisor does about it."""
        getattr(self, f"_{kind}")()
        self.done[kind] += 1
        self.tend()

    def tend(self) -> None:
        """Restart what has ended; each end must be one that a fault explains."""
        for worker in [w for w in self.workers if not w.alive]:
            code = worker.process.returncode
            allowed = {-signal.SIGKILL, *_REPLACED, *(_POISONED if worker in self._suspects else ())}
            assert code in allowed, f"{worker.name} ended with {code}:\n{worker.tail()}"
            self._forget(worker)
        while len(self.workers) < 2:
            self._start()

    # -- workers
    # ---------------------------------------------------------------------------------------------------------

    def _kill(self) -> None:
        self._any().kill()

    def _freeze(self) -> None:
        with self._frozen(self._any()):
            time.sleep(self._random.uniform(0.2, 2.0))

    def _long_freeze(self) -> None:
        with self._frozen(self._any()):
            time.sleep(SESSION_S + 2.0)

    def _join(self) -> None:
        if len(self.workers) > 3:
            self._leave()
        self._start()

    def _leave(self) -> None:
        victim = self._any()
        assert victim.stop(40) in {0, -signal.SIGTERM, *_REPLACED}, victim.tail()  # SIGTERM while it was still starting
        self._forget(victim)

    # -- versions
    # --------------------------------------------------------------------------------------------------------

    def _slow_version(self) -> None:
        self._serve("slow")
        time.sleep(self._random.uniform(0.5, 2.0))
        self._serve("sound")

    def _nan_version(self) -> None:
        self._poison("nan")

    def _raising_version(self) -> None:
        self._poison("raises")

    def _poison(self, kind: str) -> None:
        """Served to a worker that has predicted much; whoever predicts with it ends.

        The sound version comes when one has.
        """
        proven = self._working(None)
        wait_for(
            lambda: proven.metric("records_total") > 2000 or not proven.alive, WAIT_S, f"{proven.name} predicts nothing"
        )
        self._serve(kind)
        self._suspects.update(self.workers)
        wait_for(lambda: any(w.process.poll() in _POISONED for w in self.workers), WAIT_S, f"{kind}: nobody ended")
        time.sleep(self._random.uniform(0.0, 1.0))
        self._serve("sound")

    # -- the broker
    # ------------------------------------------------------------------------------------------------------

    def _broker_stop(self) -> None:
        self._broker.restart_kafka()

    def _broker_kill(self) -> None:
        self._broker.restart_kafka(kill=True)

    def _broker_pause(self) -> None:
        with self._broker_frozen():
            time.sleep(self._random.uniform(0.5, 3.0))

    @contextmanager
    def _broker_frozen(self):
        assert self._broker.kafka is not None
        assert self._broker.kafka.id is not None
        pid = self._broker.kafka.id.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    # -- transactions
    # ----------------------------------------------------------------------------------------------------

    def _fence(self) -> None:
        """A second producer of the same transactional id, while a transaction is open: the worker must end."""
        victim = self._halted(self._random.choice(["produce", "offsets"]), "1.5")
        identity = f"{self._river.name}.stream.{socket.gethostname()}.{slot_of(victim)}"
        rival = Producer({"bootstrap.servers": self._river.bootstrap, "transactional.id": identity})
        rival.init_transactions(20)
        self._ends_by(victim, _REPLACED)

    def _transaction_timeout(self) -> None:
        """Frozen with a transaction open, for longer than the broker waits for that, not for the member."""
        victim = self._halted(self._random.choice(["produce", "offsets"]), "stop", SHORT_MS)
        time.sleep(_TIMED_OUT_S)
        victim.signal(signal.SIGCONT)

    def _revoke_before_offsets(self) -> None:
        """Frozen between produce and commit until the others have its partitions: its offsets must be refused."""
        victim = self._halted("produce", "stop", LONG_MS)
        try:
            wait_for(lambda: self._taken_over(victim), WAIT_S, "nobody took the partitions")
        finally:
            victim.signal(signal.SIGCONT)

    def _rebalance_in_commit(self) -> None:
        """A worker joins while another's commit takes long: partitions may move only after it."""
        self._halted("offsets", "5", LONG_MS)
        self._start()

    def _broker_pause_in_commit(self) -> None:
        self._halted("offsets", "0.3")
        with self._broker_frozen():
            time.sleep(self._random.uniform(1.0, 3.0))

    def _broker_kill_in_commit(self) -> None:
        self._halted("offsets", "0.3")
        self._broker.restart_kafka(kill=True)

    def _halted(self, step: str, how: str, transaction_ms: int | None = None) -> Worker:
        """A worker in the middle of a transaction: told to halt there, and there."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            victim = self._working(transaction_ms)
            victim.halt(step, how)
            wait_for(
                lambda victim=victim: victim.halts or not victim.alive,
                WAIT_S,
                f"{victim.name} did not halt after {step}",
            )
            if victim.alive:
                return victim  # else an earlier fault ended it first
        raise TimeoutError(f"no worker halted after {step}")

    def _working(self, transaction_ms: int | None) -> Worker:
        """A worker that has partitions, with that transaction timeout."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            self.tend()
            fit = [w for w in self.workers if transaction_ms in {None, w.transaction_ms}]
            if not fit:
                self._start(transaction_ms)
            if ready := [w for w in fit if w.metric("partitions") > 0]:
                return self._random.choice(ready)
            time.sleep(0.1)
        raise TimeoutError("no worker has partitions")

    def _taken_over(self, victim: Worker) -> bool:
        self.tend()
        return sum(w.metric("partitions") for w in self.workers if w is not victim) == self._river.partitions

    def _ends_by(self, victim: Worker, codes: set[int]) -> None:
        wait_for(lambda: not victim.alive, WAIT_S, f"{victim.name} goes on")
        assert victim.process.returncode in codes, victim.tail()

    # -- means
    # -----------------------------------------------------------------------------------------------------------

    def _any(self) -> Worker:
        return self._random.choice(self.workers)

    def _start(self, transaction_ms: int | None = None) -> None:
        self._started += 1
        timeout = transaction_ms or (SHORT_MS if self._started % 2 else LONG_MS)
        env = {"NUMBERED_VERSION": str(self._river.version_file)}
        worker = self._river.worker(
            f"w{self._started}", wait=False, env=env, round_records=1000, transaction_timeout_ms=timeout
        )
        worker.transaction_ms = timeout
        self.workers.append(worker)

    def _forget(self, worker: Worker) -> None:
        self.ends[worker.process.returncode] += 1
        self.workers.remove(worker)

    def _serve(self, kind: str) -> None:
        self._version += 1
        self._river.serve(self._version, kind)

    @staticmethod
    @contextmanager
    def _frozen(victim: Worker):
        victim.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            victim.signal(signal.SIGCONT)


def slot_of(worker: Worker) -> int:
    """The slot that a worker holds: the lock file that it has open (`headrace.streams.identity`)."""
    descriptors = Path(f"/proc/{worker.process.pid}/fd")
    opened = [str(link.readlink()) for link in descriptors.iterdir()]
    (lock,) = [name for name in opened if name.endswith(".lock") and "/slots/" in name]
    return int(lock.split(".")[-2])
