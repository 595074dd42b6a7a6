"""The section `flow`: the monitor's snapshot, and how its figures went over the last minutes."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from headrace.contracts.snapshot import Point, Snapshot, decode
from services.gateway.passing.prefixes import starts
from services.gateway.upstream import Resolve

_TIMEOUT_S = 2.0
POINTS = 900
"""Kept of the last minutes, one a second."""
_VERSIONS = 30


class FlowPoint(msgspec.Struct, frozen=True, array_like=True):
    """One second of the flow. Rates are records a second, `p50` and `p99` of the latency seconds.

    On the wire it is an array in this order; the page reads it so.
    """

    at_us: int
    events: float
    predictions: float
    labels: float
    unpredicted: int
    p50: float | None
    p99: float | None
    freshness: float | None


class FlowSection:
    """`{"snapshot": ...}`, or `{"running": false, "start": the command}` without a monitor.

    A page that begins is told `history` first: the points, and the error beside the best baseline's over the whole run.
    """

    period_s = 0.4  # the monitor makes a snapshot twice a second: what the page shows is at most 0.9 s old

    def __init__(self, resolve: Resolve, client: httpx.AsyncClient) -> None:
        self._resolve, self._client = resolve, client
        self._points: deque[FlowPoint] = deque(maxlen=POINTS)
        self._errors: tuple[Point, ...] = ()
        self._at_us = 0

    async def look(self) -> bytes:
        """See `Section.look`."""
        snapshot = await self._snapshot()
        if snapshot is None:
            self._at_us = 0
            return msgspec.json.encode({"running": False, "start": starts("monitor")})
        if snapshot.at_us == self._at_us:
            return b""
        self._at_us = snapshot.at_us
        self._remember(snapshot)
        newest = snapshot.history[-1:]
        shown = msgspec.structs.replace(snapshot, history=newest, by_version=snapshot.by_version[-_VERSIONS:])
        best, beats = snapshot.best_baseline, snapshot.beats_baselines
        said: dict[str, Any] = {"running": True, "snapshot": shown, "best_baseline": best, "beats_baselines": beats}
        return msgspec.json.encode(said)

    def first(self) -> Mapping[str, bytes]:
        """See `Section.first`."""
        return {"history": msgspec.json.encode({"points": list(self._points), "errors": self._errors})}

    async def close(self) -> None:
        """See `Section.close`."""

    async def _snapshot(self) -> Snapshot | None:
        for address in self._resolve():
            try:
                answer = await self._client.get(f"{address}/v1/snapshot", timeout=_TIMEOUT_S)
                if answer.status_code == httpx.codes.OK:
                    return decode(answer.content)
            except (httpx.HTTPError, msgspec.DecodeError):
                continue
        return None

    def _remember(self, snapshot: Snapshot) -> None:
        self._errors = snapshot.history
        if self._points and snapshot.at_us < self._points[-1].at_us + 900_000:
            return
        rates, latency = snapshot.rates, snapshot.latency
        self._points.append(
            FlowPoint(
                at_us=snapshot.at_us,
                events=round(rates.events, 1),
                predictions=round(rates.predictions, 1),
                labels=round(rates.labels, 1),
                unpredicted=snapshot.counts.unpredicted,
                p50=latency.p50,
                p99=latency.p99,
                freshness=snapshot.freshness.p50,
            )
        )
