"""Endpoint files: how processes of one run find each other's ports.

A process writes `<run_dir>/endpoints/<instance>.json`: {"role", "instance", "pid", "endpoints"}, where "endpoints" has
"ops" and "rest" with a URL and "grpc" with host:port.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Endpoints:
    """One process's addresses."""

    role: str
    instance: str
    pid: int
    endpoints: dict[str, str]


class EndpointFile:
    """This process's own file. Every change replaces it as a whole, so that a reader never sees half of one."""

    def __init__(self, run_dir: Path, role: str, instance: str) -> None:
        self._path = run_dir / "endpoints" / f"{instance}.json"
        self._content = {"role": role, "instance": instance, "pid": os.getpid(), "endpoints": {}}
        self._endpoints: dict[str, str] = {}

    def add(self, name: str, address: str) -> None:
        """Publish one more address."""
        self._endpoints[name] = address
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({**self._content, "endpoints": self._endpoints}))
        temporary.replace(self._path)

    def remove(self) -> None:
        """Delete the file, unless another process of the same name has replaced it already."""
        known = read_endpoint_file(self._path)
        if known is not None and known.pid == os.getpid():
            self._path.unlink(missing_ok=True)


def read_endpoint_file(path: Path) -> Endpoints | None:
    """The file's content; None if there is no such file."""
    try:
        return Endpoints(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def read_endpoints(run_dir: Path) -> list[Endpoints]:
    """Every process's addresses in this run, by instance."""
    found = (read_endpoint_file(path) for path in sorted((run_dir / "endpoints").glob("*.json")))
    return [one for one in found if one is not None]


def find(run_dir: Path, role: str, endpoint: str) -> list[str]:
    """The addresses named `endpoint` of all instances of `role`."""
    return [
        one.endpoints[endpoint] for one in read_endpoints(run_dir) if one.role == role and endpoint in one.endpoints
    ]
