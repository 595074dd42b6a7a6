"""Calls another role over REST. It looks the role's addresses up before every attempt, in a setting or the run folder.

A role that was restarted may listen on another port; its endpoint file says on which.
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

_PAUSES_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # before each attempt
_AGAIN = {502, 503, 504}  # status codes after which another attempt may succeed


def resolver(urls: str, run_dir: Path, role: str) -> Resolve:
    """What gives a role's REST addresses: the setting `urls` if there is one, else the endpoint files of the run."""
    fixed = [url.strip().rstrip("/") for url in urls.split(",") if url.strip()]
    return lambda: fixed or endpoints.find(run_dir, role, "rest")


class Upstream:
    """The instances of one role, asked in turn.

    Args:
        role: the role's name, for messages.
        resolve: gives the addresses of its instances; called before every attempt.
        timeout_s: most seconds for one call, all attempts included.
        client: the HTTP client that all upstreams share.
    """

    def __init__(self, role: str, resolve: Resolve, timeout_s: float, client: httpx.AsyncClient) -> None:
        self._role, self._resolve, self._timeout_s, self._client = role, resolve, timeout_s, client
        self._turn = itertools.count()

    async def get(self, path: str) -> Any:
        """The JSON at a path; errors and attempts as with `ask`."""
        return _content(await self._call("GET", path, b"", {}, again=True))

    async def ask(self, path: str, body: bytes) -> Any:
        """POST a request that may be executed twice: if an instance is gone or not ready, another one is tried.

        Raises:
            RefusedError: an instance refused the request.
            UnavailableError, DeadlineError: none answered.
        """
        return _content(await self._call("POST", path, body, {"Content-Type": "application/json"}, again=True))

    async def forward(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """POST a request that must not be executed twice: only if it cannot connect does it try another instance."""
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
