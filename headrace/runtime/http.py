"""Asking a role over HTTP, with nothing but the standard library: what commands and probes need of it."""

import http.client
from urllib.parse import urlsplit

from headrace.runtime.errors import DependencyError


def request(url: str, body: bytes | None = None, timeout: float = 10.0) -> tuple[int, bytes]:
    """Status and body of a GET, or of a POST of JSON where there is a `body`.

    Raises:
        DependencyError: no answer in time.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=timeout)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise DependencyError(f"no answer from {url}: {error}", hint="headrace status shows what runs") from error
    finally:
        connection.close()


def fetch(url: str, timeout: float = 1.0) -> bytes | None:
    """The body of a 200 answer; None for anything else, or no answer in time."""
    try:
        status, body = request(url, timeout=timeout)
    except DependencyError:
        return None
    return body if status == http.client.OK else None
