"""Uploading a file to a role `datasets`, in parts, going on where an earlier attempt stopped."""

import http.client
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.datasets.storing.digest import sha256_of
from headrace.runtime.errors import ConfigError, DependencyError

PART = 8 << 20
_ATTEMPTS = 20
_PAUSE_S = 0.5
_POLL_S = 0.2
_CONFLICT = 409


class Service:
    """A role `datasets` at an address, as http://host:port.

    Every method raises DependencyError where nothing answers, and ConfigError with what the service says otherwise.
    """

    def __init__(self, address: str, timeout_s: float = 60.0) -> None:
        self._address, self._timeout_s = address.rstrip("/"), timeout_s

    def get(self, path: str) -> Any:
        """An answer's JSON."""
        return self._json("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """The answer to JSON."""
        return self._json("POST", path, msgspec.json.encode(body), {"Content-Type": "application/json"})

    def begin(self, file: Path) -> str:
        """Begin an upload of a file; its id."""
        asked = {"filename": file.name, "size": file.stat().st_size, "sha256": sha256_of(file)}
        return str(self.post("/v1/uploads", asked)["id"])

    def send(self, upload: str, file: Path, on_bytes: Callable[[int, int], None] = lambda *_: None) -> None:
        """Send what an upload lacks. A part that fails is sent again, from where the service says that it is."""
        size = file.stat().st_size
        offset, failed = int(self.get(f"/v1/uploads/{upload}")["offset"]), 0
        with file.open("rb") as source:
            while offset < size:
                source.seek(offset)
                try:
                    offset, failed = self._part(upload, offset, source.read(PART)), 0
                except DependencyError:
                    failed += 1
                    if failed == _ATTEMPTS:
                        raise
                    time.sleep(_PAUSE_S)
                    offset = self._where(upload, offset)
                on_bytes(offset, size)

    def follow(self, job: str, on_change: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
        """An import once it is over; told of on the way."""
        while True:
            found: dict[str, Any] = self.get(f"/v1/imports/{job}")
            on_change(found)
            if found["state"] in ("done", "failed", "cancelled"):
                return found
            time.sleep(_POLL_S)

    def _where(self, upload: str, known: int) -> int:
        try:
            return int(self.get(f"/v1/uploads/{upload}")["offset"])
        except DependencyError:
            return known

    def _part(self, upload: str, offset: int, data: bytes) -> int:
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        status, body = self._request("PATCH", f"/v1/uploads/{upload}", data, headers)
        if status == _CONFLICT and "offset" in body:
            return int(body["offset"])
        return int(_checked(status, body)["offset"])

    def _json(self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] = {}) -> Any:
        return _checked(*self._request(method, path, data, headers))

    def _request(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, Any]:
        url = urlsplit(self._address)
        connection = http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port, timeout=self._timeout_s)
        try:
            connection.request(method, url.path + path, data, dict(headers))
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, msgspec.json.decode(text) if text else {}
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            raise DependencyError(f"no answer from {self._address}: {error}", hint="headrace status") from error
        finally:
            connection.close()


def _checked(status: int, body: Any) -> Any:
    if status >= 500:
        raise DependencyError(f"{status}: {body.get('error', '')}")
    if status >= 400:
        raise ConfigError(str(body.get("error", status)))
    return body
