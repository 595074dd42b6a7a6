"""Telling a webhook of alerts: the request's body, its signature, and one POST that follows no redirect.

The body is {"pipeline", "sent_at", "alerts": [...]}, each alert as `headrace alerts list --json` has it. An alert's
`id`, `firing` and `at_us` together name what is told: alerts may come twice.

Where a secret is set, `X-Headrace-Signature` is `sha256=` and the hex HMAC-SHA256, by the secret, of
`X-Headrace-Timestamp`, a dot, and the body's bytes. `X-Headrace-Delivery` is the same when a post is tried again.
"""

import hashlib
import hmac
import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

_ANSWER_BYTES = 2048


@dataclass(frozen=True)
class Webhook:
    """Where alerts of a severity or worse are posted. `secret` and `url` may come from the environment."""

    name: str
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    severity: str = "WARNING"
    timeout_s: float = 5.0
    retry_s: float = 600.0


class DeliveryError(Exception):
    """The webhook has not taken the alerts. `lasting`: trying again changes nothing."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


def body_of(pipeline: str, alerts: Sequence[Mapping[str, Any]], now: float) -> bytes:
    """The request's body; `now` is in seconds since the epoch."""
    sent = datetime.fromtimestamp(now, UTC).isoformat()
    return json.dumps({"pipeline": pipeline, "sent_at": sent, "alerts": list(alerts)}).encode()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `X-Headrace-Signature` has to be."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def post(hook: Webhook, body: bytes, delivery: str, now: float) -> None:
    """Post once.

    Raises:
        DeliveryError: no answer in time, or any but a 2xx. A redirect is not followed: it could lead anywhere.
    """
    address = urlsplit(hook.url)
    headers = {"Content-Type": "application/json", "User-Agent": "headrace", "X-Headrace-Delivery": delivery}
    if hook.secret:
        headers["X-Headrace-Timestamp"] = stamp = str(int(now))
        headers["X-Headrace-Signature"] = signature(hook.secret, stamp, body)
    connection = _connection(address.scheme, address.hostname or "", address.port, hook.timeout_s)
    path = (address.path or "/") + (f"?{address.query}" if address.query else "")
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read(_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise DeliveryError(f"no answer: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if 300 <= answer.status < 400:
        raise DeliveryError(f"answered {answer.status}, a redirect, which is not followed", lasting=True)
    if not 200 <= answer.status < 300:
        raise DeliveryError(f"answered {answer.status}", lasting=answer.status in {401, 403, 404, 405, 410, 413})


def _connection(scheme: str, host: str, port: int | None, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=timeout_s)
