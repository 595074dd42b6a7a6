"""Calling another role over REST: found in the run folder or by setting, looked up again before every attempt.

A role that was restarted listens on another port; its endpoint file says which.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

from headrace.runtime import endpoints
from headrace.runtime.secrets import masked
from services.gateway import metrics
from services.gateway.errors import DeadlineError, RefusedError, UnavailableError

Resolve = Callable[[], Sequence[str]]

_PAUSES_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # between attempts; the deadline ends them
_AGAIN = {502, 503, 504}


def resolver(urls: str, run_dir: Path, role: str) -> Resolve:
    """Where a role's REST addresses come from: the setting `urls` if there is one, else the run folder."""
    fixed = [url.strip().rstrip("/") for url in urls.split(",") if url.strip()]
    return lambda: fixed or endpoints.find(run_dir, role, "rest")


class Upstream:
    """The instances of one role, asked in turn.

    Args:
        role: its name, for messages.
        resolve: gives the instances' addresses, each time anew.
        timeout_s: what one call may take, attempts included.
        client: shared by all upstreams.
    """

    def __init__(self, role: str, resolve: Resolve, timeout_s: float, client: httpx.AsyncClient) -> None:
        self._role, self._resolve, self._timeout_s, self._client = role, resolve, timeout_s, client
        self._turn = itertools.count()

    async def get(self, path: str) -> Any:
        """The JSON at a path; tried again as `ask`."""
        return _content(await self._call("GET", path, b"", {}, again=True))

    async def ask(self, path: str, body: bytes) -> Any:
        """POST what may be done twice; tried again elsewhere when an instance is gone or not ready.

        Raises:
            RefusedError: an instance answered that the request is wrong.
            UnavailableError, DeadlineError: none answered.
        """
        return _content(await self._call("POST", path, body, {"Content-Type": "application/json"}, again=True))

    async def forward(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """POST what must not be done twice: another instance is tried only where no connection came about."""
        return await self._call("POST", path, body, headers, again=False)

    async def _call(
        self, method: str, path: str, body: bytes, headers: dict[str, str], *, again: bool
    ) -> httpx.Response:
        reason = "none is running"
        try:
            async with asyncio.timeout(self._timeout_s):
                for attempt, pause in enumerate(_PAUSES_S):
                    await asyncio.sleep(pause)
                    if attempt:
                        metrics.RETRIES.labels(self._role).inc()
                    for address in self._in_turn():
                        try:
                            response = await self._client.request(method, address + path, content=body, headers=headers)
                        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                            reason = f"{masked(address)}: {error!r}"
                            continue
                        except httpx.TransportError as error:
                            reason = f"{masked(address)}: {error!r}"
                            if not again:
                                raise UnavailableError(
                                    f"role {self._role} went away while answering: {reason}"
                                ) from error
                            continue
                        if not again or response.status_code not in _AGAIN:
                            return response
                        reason = f"{masked(address)}: {_reason(response)}"
        except TimeoutError as error:
            raise DeadlineError(
                f"role {self._role} did not answer within {self._timeout_s:g} s; last: {reason}"
            ) from error
        raise UnavailableError(f"role {self._role} is not available: {reason}")

    def _in_turn(self) -> list[str]:
        addresses = list(self._resolve())
        first = next(self._turn) % len(addresses) if addresses else 0
        return addresses[first:] + addresses[:first]


def _reason(response: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(response.content)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"status {response.status_code}"


def _content(response: httpx.Response) -> Any:
    if response.status_code >= 400:
        raise RefusedError(_reason(response), response.status_code)
    return msgspec.json.decode(response.content)
