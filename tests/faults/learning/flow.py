"""Numbered events and their labels, twice and out of order, some of them bad, in a thread of its own."""

import json
import random
import threading
import time
from typing import Any

from confluent_kafka import Producer

from tests.patience import WAIT_S

BLOCK = 50
TOO_LARGE, INFINITE_LOSS = 2e6, 1e6
"""An x that the toy model raises on, and a y that gives it an infinite loss."""


class Flow(threading.Thread):
    """Produces until it is stopped.

    Labels come up to some hundred records from their events, before or after; one in ten records comes twice. In a
    storm labels are held back, and come all at once.

    Args:
        kafka: where to.
        name: the pipeline.
        seed: of all that is random.
        per_second: events.
    """

    def __init__(self, kafka: Any, name: str, seed: int, per_second: int) -> None:
        super().__init__(daemon=True)
        config = {"bootstrap.servers": kafka.bootstrap_servers, "partitioner": "murmur2_random"}
        self._producer = Producer({**config, "enable.idempotence": True})
        self._name, self._random, self._pause = name, random.Random(seed), BLOCK / per_second
        self._waiting: list[tuple[str, str, dict[str, Any]]] = []
        self._held: list[tuple[str, str, dict[str, Any]]] = []
        self._storm, self._over = threading.Event(), threading.Event()
        self.keys: list[str] = []
        self.bad: set[str] = set()
        self.storms = 0

    def run(self) -> None:
        while not self._over.wait(self._pause):
            self._block()
        self._break()
        self._send(len(self._waiting))
        assert self._producer.flush(WAIT_S) == 0

    def storm(self, seconds: float) -> None:
        """Hold labels back for a while, then send them all at once."""
        self._storm.set()
        time.sleep(seconds)
        self._storm.clear()

    def stop(self) -> None:
        """Produce what is left, and end."""
        self._over.set()
        self.join(WAIT_S)
        assert not self.is_alive()

    def _block(self) -> None:
        for _ in range(BLOCK):
            self._pair()
        if not self._storm.is_set() and self._held:
            self._break()
        self._random.shuffle(self._waiting)
        self._send(len(self._waiting) - 2 * BLOCK)

    def _pair(self) -> None:
        key, x = str(len(self.keys)), self._random.uniform(-1, 1)
        y = 2 * x + 0.5
        if self._random.random() < 0.004:
            self.bad.add(key)
            x, y = (TOO_LARGE, y) if self._random.random() < 0.5 else (x, INFINITE_LOSS)
        self.keys.append(key)
        event, label = ("events", key, {"id": key, "x": x}), ("labels", key, {"id": key, "y": y})
        for record in (event, label):
            into = self._held if record is label and self._storm.is_set() else self._waiting
            into += [record] * (2 if self._random.random() < 0.1 else 1)

    def _break(self) -> None:
        self.storms += bool(self._held)
        for record in self._held:
            self._produce(*record)
        self._held = []

    def _send(self, count: int) -> None:
        for _ in range(max(0, count)):
            self._produce(*self._waiting.pop())

    def _produce(self, stream: str, key: str, value: dict[str, Any]) -> None:
        self._producer.produce(f"{self._name}.{stream}", json.dumps(value), key)
        self._producer.poll(0)
