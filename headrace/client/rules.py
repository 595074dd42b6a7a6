"""A client of the role `rules`, with nothing but the standard library."""

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from headrace.runtime.errors import ConfigError, DependencyError

_RULES, _RUNS = "/v1/rules", "/v1/rules/runs"
_TIMEOUT_S = 30.0


class RulesClient:
    """Asks one role.

    Every method raises ConfigError with the role's own words where it refuses, and DependencyError where it does not
    answer.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def rules(self) -> list[dict[str, Any]]:
        """The rules, each with its state."""
        return list(self._ask("GET", _RULES)["rules"])

    def runs(self, rule: str = "", state: str = "", limit: int = 20) -> list[dict[str, Any]]:
        """The newest runs, of one rule or state or of all."""
        asked = {name: value for name, value in (("rule", rule), ("state", state), ("limit", limit)) if value}
        return list(self._ask("GET", f"{_RUNS}?{urlencode(asked)}")["runs"])

    def run(self, run: str) -> dict[str, Any]:
        """One run."""
        return self._ask("GET", f"{_RUNS}/{quote(run)}")

    def trigger(self, rule: str, by: str, details: Mapping[str, Any], key: str = "") -> dict[str, Any]:
        """Begin a run; the same key again is the same run."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self._ask("POST", f"{_RULES}/{quote(rule)}/trigger", {"by": by, "details": dict(details)}, headers)

    def decide(self, run: str, what: str, by: str, comment: str) -> dict[str, Any]:
        """`approve`, `reject` or `cancel` a run."""
        return self._ask("POST", f"{_RUNS}/{quote(run)}/{what}", {"by": by, "comment": comment})

    def follow(self, run: str) -> Iterator[dict[str, Any]]:
        """The run as it is and after each change, until it is over, by server-sent events."""
        connection, answer = self._open("GET", f"{_RUNS}/{quote(run)}/events", None, {}, None)
        try:
            for line in answer:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])
        except (OSError, http.client.HTTPException) as error:
            raise DependencyError(f"{self._address} no longer answers: {error}", hint="follow it again") from error
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        connection, answer = self._open(method, path, body, headers or {}, _TIMEOUT_S)
        try:
            return dict(json.loads(answer.read()))
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout_s: float | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        address = urlsplit(self._address)
        connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=timeout_s)
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, data, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            refused = answer.read() if answer.status >= http.client.BAD_REQUEST else b""
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            hint = "headrace status shows what runs"
            raise DependencyError(f"no answer from {self._address}: {error}", hint=hint) from error
        if refused:
            connection.close()
            raise ConfigError(_error(refused))
        return connection, answer


def _error(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
