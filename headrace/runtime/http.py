"""Asking a role over HTTP, with nothing but the standard library: what commands and probes need of it."""

import http.client
import os
import ssl
from urllib.parse import urlsplit

from headrace.runtime.errors import ConfigError, DependencyError

API_KEY, AUTHORITY = "HEADRACE_API_KEY", "HEADRACE_TLS_CA"
CERTIFICATE, CERTIFICATE_KEY = "HEADRACE_TLS_CERT", "HEADRACE_TLS_KEY"
"""The settings `api_key`, `tls_ca`, `tls_cert` and `tls_key`, for commands that ask a role."""


def request(url: str, body: bytes | None = None, timeout: float = 10.0) -> tuple[int, bytes]:
    """Status and body of a GET, or of a POST of JSON where there is a `body`.

    Raises:
        DependencyError: no answer in time.
    """
    address = urlsplit(url)
    connection = _connection(address.scheme, address.hostname or "127.0.0.1", address.port, timeout)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key := os.environ.get(API_KEY):
            headers["Authorization"] = f"Bearer {key}"
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise DependencyError(f"no answer from {url}: {error}", hint="headrace status shows what runs") from error
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None, timeout: float) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        context = ssl.create_default_context(cafile=os.environ.get(AUTHORITY) or None)
        if certificate := os.environ.get(CERTIFICATE):
            context.load_cert_chain(certificate, os.environ.get(CERTIFICATE_KEY) or None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS: {error}", hint=f"{AUTHORITY} names the PEM file of whom to trust") from error
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)


def fetch(url: str, timeout: float = 1.0) -> bytes | None:
    """The body of a 200 answer; None for anything else, or no answer in time."""
    try:
        status, body = request(url, timeout=timeout)
    except DependencyError:
        return None
    return body if status == http.client.OK else None
