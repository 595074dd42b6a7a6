"""Numbered events on a topic for as long as faults happen; now and then a bad record with an id of its own."""

import random
import threading
import time

from tests.stream_kit import PipelineRun

KEYS = 997
_BAD = {  # how a record is bad, and the phase in which that shows
    "decode": '{{"bad": {id}',
    "features": '{{"key": "{key}", "n": -1, "id": {id}}}',
    "forward": '{{"key": "{key}", "n": -2, "id": {id}}}',
}


class Flood(threading.Thread):
    """Produces until it is told to finish, `least` events at least. `bad` are the bad records' values and phases."""

    def __init__(self, river: PipelineRun, seed: int, least: int, per_second: int) -> None:
        super().__init__(name="flood", daemon=True)
        self.river, self._least, self._per_second = river, least, per_second
        self._random = random.Random(seed)
        self._finishing = threading.Event()
        self.events = 0
        self.bad: list[tuple[bytes, str]] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            started, batch = time.monotonic(), max(1, self._per_second // 20)
            while not self._finishing.is_set() or self.events < self._least:
                self._batch(batch)
                if self._random.random() < 0.2:
                    self._spoil()
                time.sleep(max(0.0, started + self.events / self._per_second - time.monotonic()))
            self._batch(KEYS)  # good ones last
        except Exception as error:  # noqa: BLE001 - told by the test that waits for the thread
            self.failure = error

    def _batch(self, count: int) -> None:
        self.river.produce(range(self.events, self.events + count), keys=KEYS)
        self.events += count

    def _spoil(self) -> None:
        phase = self._random.choice(list(_BAD))
        key = f"k{self._random.randrange(KEYS)}"
        value = _BAD[phase].format(key=key, id=len(self.bad)).encode()
        self.river.send(value, key)
        self.bad.append((value, phase))

    def finish(self, timeout: float) -> None:
        """Return once everything is produced."""
        self._finishing.set()
        self.join(timeout)
        if self.failure is not None:
            raise self.failure
        assert not self.is_alive(), f"{self.events} events produced, {self._least} wanted"
