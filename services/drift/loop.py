"""The thread that reads, compares, and writes state and alerts."""

import contextlib
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from headrace.contracts.events_pb2 import Alert
from headrace.runtime.lifecycle import Stop
from services.drift import metrics, state
from services.drift.kafka import Feed, Ledger
from services.drift.service import Watch
from services.drift.settings import DriftSettings

Resets = queue.SimpleQueue[tuple[Sequence[str] | None, "Future[list[str]]"]]
Show = Callable[[Watch, float, int], None]


class Loop:
    """Reads until it is stopped.

    Args:
        settings: the role's.
        watch: takes what is read.
        feed: reads.
        ledger: writes.
        resets: references to take anew, and whom to tell which once that is durable.
        show: is given the watch, the time and the lag every `tick_s`.
    """

    def __init__(
        self, settings: DriftSettings, watch: Watch, feed: Feed, ledger: Ledger, *, resets: Resets, show: Show
    ) -> None:
        self._settings, self._watch, self._feed, self._ledger = settings, watch, feed, ledger
        self._resets, self._show = resets, show
        self._next_state = time.time() + settings.state_s

    def run(self, stop: Stop) -> None:
        """Until `stop` is set; what was read is then written down."""
        next_tick = next_lag = 0.0
        if self._watch.learns_first:
            self._commit([])  # where it begins
        lag = 0
        while not stop.is_set():
            now = time.time()
            self._watch.at(now)
            learns = self._watch.learns_first
            self._feed.read(self._watch)
            if now >= next_lag:
                next_lag = now + self._settings.lag_s
                lag, read_until = self._feed.lag()
                self._watch.tick(now, read_until)
            self._take_resets()
            self._write(force=now >= self._next_state or learns != self._watch.learns_first)
            if now >= next_tick:
                next_tick = now + self._settings.tick_s
                self._show(self._watch, now, lag)
        self._write(force=True)

    def _take_resets(self) -> None:
        while not self._resets.empty():
            columns, done = self._resets.get()
            names = self._watch.reset(columns)
            self._write(force=True)
            with contextlib.suppress(Exception):  # nobody waits for it any more
                done.set_result(names)

    def _write(self, *, force: bool) -> None:
        """Alerts at once, with the state that they follow from; else the state every now and then, if anything came."""
        alerts = self._watch.drain()
        if not alerts and (not force or self._watch.learns_first):  # a first reference is read again after a restart
            return
        self._commit(alerts)

    def _commit(self, alerts: Sequence[Alert]) -> None:
        self._next_state = time.time() + self._settings.state_s
        offsets = self._feed.positions()
        data, pipeline, started = state.encode(self._watch), self._watch.watched.pipeline, time.perf_counter()
        self._ledger.commit(alerts, data, offsets)
        metrics.COMMIT.labels(pipeline).observe(time.perf_counter() - started)
        metrics.STATE_BYTES.labels(pipeline).set(len(data))
        for alert in alerts:
            metrics.ALERTS_CHANGED.labels(pipeline, alert.name, "yes" if alert.firing else "no").inc()
