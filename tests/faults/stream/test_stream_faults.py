"""Numbered events while workers are killed, frozen, joined and stopped on a seeded schedule: none unseen, none twice, in order.

The long form (`make faults`) has 60 faults over a million events; the short one is part of `make test`. A failure prints the
seed, and HEADRACE_FAULT_SEED repeats its schedule.
"""

import itertools
import os
import random
import signal
import threading
import time

import pytest

from tests.stream_kit import WELL, River, Worker

POISON = {b"{": "decode", b'{"key": "k1", "n": -1}': "features", b'{"key": "k1", "n": -2}': "forward"}


class Flood(threading.Thread):
    """Produces numbered events, now and then a poisoned one, until told to stop."""

    def __init__(self, river: River, seed: int, events: int, per_second: int) -> None:
        super().__init__(name="flood", daemon=True)
        self._river = river
        self._random = random.Random(seed)
        self._events = events
        self._per_second = per_second
        self.poisoned: dict[str, int] = dict.fromkeys(POISON.values(), 0)
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            started, batch = time.monotonic(), max(1, self._per_second // 20)
            for first in range(0, self._events, batch):
                self._river.produce(range(first, min(first + batch, self._events)), keys=997)
                if self._random.random() < 0.2:
                    value = self._random.choice(list(POISON))
                    self._river.send(value, f"k{self._random.randrange(997)}")
                    self.poisoned[POISON[value]] += 1
                time.sleep(max(0.0, started + first / self._per_second - time.monotonic()))
            self._river.flush()
        except Exception as error:  # noqa: BLE001 - told by the test that waits for the thread
            self.failure = error


class Chaos:
    """Keeps about two workers alive, and does things to them."""

    def __init__(self, river: River, seed: int) -> None:
        self._river = river
        self._random = random.Random(seed)
        self._names = itertools.count(1)
        self.workers: list[Worker] = []
        self.done: dict[str, int] = {}

    def start(self) -> None:
        slow = {"NUMBERED_SLOW_MS": "200"} if self._random.random() < 0.25 else {}
        name = f"w{next(self._names)}"
        self.workers.append(self._river.worker(name, wait=not self.workers, env=slow, round_records=1000))

    def strike(self) -> None:
        """One fault, and what a supervisor does about it."""
        victim = self._random.choice(self.workers)
        kinds = ["kill", "kill", "freeze", "join", "leave"]
        kind = self._random.choice(kinds if len(self.workers) < 3 else [k for k in kinds if k != "join"])
        getattr(self, f"_{kind}")(victim)
        self.done[kind] = self.done.get(kind, 0) + 1
        for worker in [w for w in self.workers if not w.alive]:  # one that was fenced has ended by itself
            assert worker.process.returncode in {-signal.SIGKILL, 0, 3, 4}, worker.tail()
            self.workers.remove(worker)
        while len(self.workers) < 2:
            self.start()

    def _kill(self, victim: Worker) -> None:
        victim.kill()

    def _freeze(self, victim: Worker) -> None:
        victim.signal(signal.SIGSTOP)
        time.sleep(self._random.choice([0.5, 8.0]))  # a hiccup, or longer than the group waits
        victim.signal(signal.SIGCONT)

    def _join(self, _victim: Worker) -> None:
        self.start()

    def _leave(self, victim: Worker) -> None:
        assert victim.stop(30) in {0, -signal.SIGTERM}, victim.tail()  # the latter while it is still starting


def run(kafka, folder, seed: int, *, faults: int, events: int, per_second: int, pause: tuple[float, float]) -> None:
    with River(kafka, folder) as river:
        chaos, flood = Chaos(river, seed), Flood(river, seed, events, per_second)
        chaos.start()
        chaos.start()
        flood.start()
        dice = random.Random(seed)
        for _ in range(faults):
            time.sleep(dice.uniform(*pause))
            chaos.strike()
        flood.join(600)
        assert not flood.is_alive()
        assert flood.failure is None, flood.failure
        bad = sum(flood.poisoned.values())
        outcome = river.read(events, bad, timeout=120)
        verdict = outcome.verdict(river.produced)
        dead = dict.fromkeys(flood.poisoned, 0)
        for letter in outcome.letters:
            dead[letter.phase] += 1
        print(f"seed {seed}: {faults} faults {chaos.done} over {events} events: {verdict}; dead letters {dead}")
        assert verdict == WELL, river.logs()
        assert dead == flood.poisoned


SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20"))


@pytest.mark.timeout(180)
def test_a_few_faults_lose_and_repeat_nothing(kafka, tmp_path):
    run(kafka, tmp_path, SEED, faults=4, events=30_000, per_second=3000, pause=(0.5, 2.0))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_faults_lose_and_repeat_nothing(kafka, tmp_path):
    run(kafka, tmp_path, SEED, faults=60, events=1_000_000, per_second=4000, pause=(0.5, 6.0))
