"""The status of a run: the readiness of every role, and the monitor's numbers if there is a monitor."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec

from headrace.runtime.endpoints import Endpoints

_TIMEOUT_S = 1.0
_CHOSEN = (
    *("versions", "workers", "counts", "rates", "model", "models", "baselines"),
    *("task", "error_name", "metrics", "error_unit", "lag", "freshness", "alerts"),
)
"""The fields of the monitor's snapshot that the status shows."""


class Status:
    """Asks every role for its status. `processes` and `monitors` are called each time: processes come and go."""

    def __init__(
        self,
        pipeline: str,
        processes: Callable[[], Sequence[Endpoints]],
        monitors: Callable[[], Sequence[str]],
        client: httpx.AsyncClient,
    ) -> None:
        self._pipeline, self._processes, self._monitors, self._client = pipeline, processes, monitors, client

    async def report(self) -> dict[str, Any]:
        """The status as JSON values. A role that does not answer within a second is reported so."""
        roles, snapshot = await asyncio.gather(self.roles(), self._snapshot())
        return {
            "pipeline": self._pipeline,
            "ready": bool(roles) and all(role["ready"] for role in roles),
            "roles": roles,
            "monitor": {name: snapshot[name] for name in _CHOSEN if name in snapshot} if snapshot else None,
        }

    async def models(self) -> list[dict[str, Any]]:
        """What the monitor knows about each model; empty if the pipeline has only one, or no monitor answers."""
        snapshot = await self._snapshot()
        return list(snapshot.get("models", ())) if snapshot else []

    async def roles(self) -> list[dict[str, Any]]:
        """Every process of the run, and whether it is ready."""
        return list(await asyncio.gather(*(self._role(one) for one in self._processes())))

    async def _role(self, one: Endpoints) -> dict[str, Any]:
        known = {"role": one.role, "instance": one.instance, "pid": one.pid, "endpoints": one.endpoints}
        answer = await self._json(f"{one.endpoints['ops']}/readyz") if "ops" in one.endpoints else None
        if answer is None:
            return {**known, "ready": False, "checks": {}, "error": "does not answer"}
        return {**known, "ready": answer.get("ready") is True, "checks": answer.get("checks", {})}

    async def _snapshot(self) -> dict[str, Any] | None:
        for address in self._monitors():
            if (snapshot := await self._json(f"{address}/v1/snapshot")) is not None and "error" not in snapshot:
                return snapshot
        return None

    async def _json(self, url: str) -> dict[str, Any] | None:
        try:
            content = msgspec.json.decode((await self._client.get(url, timeout=_TIMEOUT_S)).content)
        except (httpx.HTTPError, msgspec.DecodeError):
            return None
        return content if isinstance(content, dict) else None
