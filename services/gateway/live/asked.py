"""Sections that are what a role answers at a path, asked once for all pages; and the readiness of every role."""

from collections.abc import Mapping

import httpx
import msgspec

from services.gateway.passing.prefixes import starts
from services.gateway.status import Status
from services.gateway.upstream import Resolve

_TIMEOUT_S = 5.0


class AskedSection:
    """`{"running": true, "answer": ...}`, or `{"running": false, "start": the command}` where the role is not there."""

    def __init__(self, role: str, path: str, resolve: Resolve, client: httpx.AsyncClient, *, period_s: float) -> None:
        self._role, self._path, self._resolve, self._client = role, path, resolve, client
        self.period_s = period_s

    async def look(self) -> bytes:
        """See `Section.look`."""
        reason = ""
        for address in self._resolve():
            try:
                answer = await self._client.get(address + self._path, timeout=_TIMEOUT_S)
            except httpx.HTTPError as error:
                reason = f"role {self._role} does not answer: {error!r}"
                continue
            if answer.status_code < 400 and _is_json(answer.content):
                return b'{"running": true, "answer": ' + answer.content.replace(b"\n", b" ") + b"}"
            reason = f"role {self._role} answers {self._path} with status {answer.status_code}"
        return msgspec.json.encode({"running": False, "start": starts(self._role), "error": reason})

    def first(self) -> Mapping[str, bytes]:
        """See `Section.first`."""
        return {}

    async def close(self) -> None:
        """See `Section.close`."""


class RolesSection:
    """`{"roles": [...]}`: every process of the run and whether it is ready."""

    period_s = 1.0

    def __init__(self, status: Status) -> None:
        self._status = status

    async def look(self) -> bytes:
        """See `Section.look`."""
        return msgspec.json.encode({"roles": await self._status.roles()})

    def first(self) -> Mapping[str, bytes]:
        """See `Section.first`."""
        return {}

    async def close(self) -> None:
        """See `Section.close`."""


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
    except msgspec.DecodeError:
        return False
    return True
