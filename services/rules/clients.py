"""HTTP: the role `train`, the monitor, and the addresses that pipelines name. See `headrace.rules.effects.port`."""

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from headrace.contracts.snapshot import Snapshot, decode
from headrace.rules.effects.port import StepFailed
from headrace.runtime import endpoints
from headrace.runtime.files import synced
from headrace.runtime.logging import get_logger

log = get_logger("headrace.rule")

_AGAIN = frozenset({408, 425, 429})
"""Statuses of 4xx after which another attempt may succeed, as after every 5xx."""
_MOST_PAUSE_S = 15.0


def pauses() -> Iterator[float]:
    """Seconds before each further attempt, without end."""
    pause = 0.2
    while True:
        yield pause
        pause = min(pause * 2, _MOST_PAUSE_S)


class Roles:
    """Where other roles are: a setting, else the endpoint files of the run."""

    def __init__(self, run_dir: Path, urls: Mapping[str, str]) -> None:
        self._run_dir, self._urls = run_dir, urls

    def addresses(self, role: str) -> list[str]:
        """The REST addresses of a role now; it may have been restarted at another port."""
        fixed = self._urls.get(role, "").rstrip("/")
        return [fixed] if fixed else endpoints.find(self._run_dir, role, "rest")


class TrainJobs:
    """See `headrace.rules.effects.port.Jobs`."""

    def __init__(self, roles: Roles, client: httpx.AsyncClient) -> None:
        self._roles, self._client = roles, client

    async def submit(self, kind: str, request: Mapping[str, Any], key: str) -> dict[str, Any]:
        """See `Jobs`."""
        answer = await self._ask("POST", f"/v1/training/{kind}", request, {"Idempotency-Key": key})
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise StepFailed(f"the role train refuses: {_error(answer)}")
        return dict(answer.json())

    async def get(self, kind: str, job: str) -> dict[str, Any]:
        """See `Jobs`."""
        answer = await self._ask("GET", f"/v1/training/{kind}/{job}")
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise StepFailed(f"job {job}: {_error(answer)}")
        return dict(answer.json())

    async def cancel(self, kind: str, job: str) -> None:
        """See `Jobs`."""
        try:
            async with asyncio.timeout(10.0):
                await self._ask("POST", f"/v1/training/{kind}/{job}/cancel")
        except TimeoutError:
            log.warning("a job could not be cancelled: the role train does not answer", job=job)

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Ask until the role answers."""
        for pause in pauses():
            for address in self._roles.addresses("train"):
                try:
                    answer = await self._client.request(method, address + path, json=body, headers=headers)
                except httpx.TransportError as error:
                    log.debug("no answer", address=address, error=repr(error))
                    continue
                if answer.status_code not in _AGAIN and answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return answer
            await asyncio.sleep(pause)
        raise AssertionError("there is always another pause")


class Outside:
    """See `headrace.rules.effects.port.Web`.

    Args:
        client: the HTTP client.
        secret: by which tokens are made of keys.

    Attributes:
        address: where others reach this role's REST; to be set before anything is posted.
    """

    address = ""

    def __init__(self, client: httpx.AsyncClient, secret: bytes) -> None:
        self._client, self._secret = client, secret

    async def post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> int:
        """See `Web`."""
        data = msgspec.json.encode(body)
        for pause in pauses():
            try:
                sent = {"Content-Type": "application/json", **headers}
                answer = await self._client.post(url, content=data, headers=sent)
            except httpx.InvalidURL as error:
                raise StepFailed(f"{url}: {error}") from None
            except httpx.TransportError as error:
                log.info("a webhook does not answer", url=url, error=repr(error))
            else:
                if answer.is_success:
                    return answer.status_code
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR and answer.status_code not in _AGAIN:
                    raise StepFailed(f"{url} answers {answer.status_code}: {answer.text[:200]}")
                log.info("a webhook is not taken", url=url, status=answer.status_code)
            await asyncio.sleep(pause)
        raise AssertionError("there is always another pause")

    def callback(self, key: str) -> tuple[str, str]:
        """See `Web`."""
        run, _, number = key.partition("/")
        return f"{self.address.rstrip('/')}/v1/rules/runs/{run}/steps/{number}/done", self.token(key)

    def token(self, key: str) -> str:
        """The token of a step's key: the same after a restart, and nobody else can make it."""
        return hmac.new(self._secret, key.encode(), hashlib.sha256).hexdigest()


async def monitor_errors(roles: Roles, client: httpx.AsyncClient) -> dict[str, float]:
    """The moving error of each model, and of all that was served as ""; empty where no monitor answers."""
    for address in roles.addresses("monitor"):
        try:
            answer = await client.get(f"{address}/v1/snapshot", timeout=5.0)
            snapshot = decode(answer.content) if answer.is_success else None
        except (httpx.TransportError, msgspec.DecodeError) as error:
            log.debug("no snapshot", address=address, error=repr(error))
            continue
        if snapshot is not None:
            return _errors(snapshot)
    return {}


def _errors(snapshot: Snapshot) -> dict[str, float]:
    scores = {"": snapshot.model, **{one.model: one.score for one in snapshot.models}}
    return {model: score.window for model, score in scores.items() if score.window is not None}


def secret_in(folder: Path) -> bytes:
    """The secret of call-backs' tokens, kept in a file that only this user can read; made where there is none."""
    path = folder / "callback-secret"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        before = os.umask(0o077)
        try:
            with synced(path) as file:
                file.write(secrets.token_bytes(32))
        finally:
            os.umask(before)
    return path.read_bytes()


def _error(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
