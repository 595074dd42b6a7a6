"""Whether a role is ready: asked where its endpoint file says, at the process that wrote it."""

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from headrace.runtime.endpoints import Endpoints, read_endpoint_file

_TIMEOUT_S = 2.0


def endpoint_file(run_dir: Path, instance: str) -> Path:
    """Where an instance publishes its addresses."""
    return run_dir / "endpoints" / f"{instance}.json"


def endpoints_of(run_dir: Path, instance: str, pid: int) -> Endpoints | None:
    """The addresses that process `pid` published; None before that. A predecessor's file does not count."""
    try:
        found = read_endpoint_file(endpoint_file(run_dir, instance))
    except (ValueError, TypeError):  # damaged by a full disk or an older version: as good as none
        return None
    return found if found is not None and found.pid == pid else None


def answers_ready(ops_url: str) -> tuple[bool, str]:
    """Whether /readyz says 200, and what it says instead."""
    address = urlsplit(ops_url)
    connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer from {ops_url}: {error}"
    finally:
        connection.close()
    return answer.status == http.client.OK, body
