"""Whose run folder it is: a lock that ends with its holder, and a file that tells what a killed holder left running."""

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from headrace.platform.files import read_json, write_json
from headrace.platform.process import ProcessId
from headrace.runtime.errors import PlatformError
from headrace.runtime.secrets import masked

_STATE = "state.json"
_STALE_STOP_S = 5.0


@dataclass(frozen=True)
class ServerStatus:
    """One server: "running", "external" (not ours) or "stopped"; its address; its process where it is ours."""

    name: str
    state: str
    address: str
    process: ProcessId | None

    def as_dict(self) -> dict[str, Any]:
        """As plain values for a file, which holds no password: whoever named an external server knows its own."""
        return {
            "state": self.state,
            "address": masked(self.address),
            **(self.process.as_dict() if self.process else {}),
        }


@dataclass(frozen=True)
class PlatformStatus:
    """Who owns the platform (None: nobody alive), whether it has answered, and its servers: "kafka" and "redis"."""

    owner: ProcessId | None
    ready: bool
    servers: list[ServerStatus]

    def address(self, name: str) -> str:
        """The address of the server of this name; empty where there is none."""
        return next((server.address for server in self.servers if server.name == name), "")


def write_state(folder: Path, status: PlatformStatus) -> None:
    """Record who owns which servers."""
    owner = status.owner.as_dict() if status.owner else None
    write_json(
        folder / _STATE, {"owner": owner, "ready": status.ready, **{s.name: s.as_dict() for s in status.servers}}
    )


def read_status(folder: Path) -> PlatformStatus:
    """What the file says, as far as it is still true."""
    state = read_json(folder / _STATE) or {}
    owner = ProcessId.parse(state.get("owner"))
    servers = []
    for name in ("kafka", "redis"):
        known = state.get(name) or {}
        process = ProcessId.parse(known)
        runs = process is not None and process.alive()
        said = "running" if runs else "external" if known.get("state") == "external" else "stopped"
        servers.append(ServerStatus(name, said, known.get("address", ""), process if runs else None))
    lives = owner is not None and owner.alive()
    return PlatformStatus(owner if lives else None, lives and bool(state.get("ready")), servers)


class Claim:
    """One live process at a time uses a run's platform folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether it is ours."""
        return self._file is not None

    def take(self) -> None:
        """Claim the folder and end what a killed owner left running.

        Raises:
            PlatformError: a live process has it, or it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / "lock").open("w")
        except OSError as error:
            raise PlatformError(
                f"cannot use the run's folder: {error}", hint="choose another with --run-dir"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            owner = read_status(self._folder).owner
            raise PlatformError(
                f"{self._folder} is in use{f' by process {owner.pid}' if owner else ''}",
                hint="headrace down stops it; another --run-dir keeps both",
            ) from None
        self._file = file
        self._end_stale()

    def _end_stale(self) -> None:
        """The lock is ours, so whoever started these is gone: they are orphans, of exactly the recorded start times."""
        for server in read_status(self._folder).servers:
            if server.process is not None:
                server.process.terminate(_STALE_STOP_S)

    def last_ports(self) -> dict[str, int]:
        """The ports of the embedded servers when the folder was last used."""
        state = read_json(self._folder / _STATE) or {}
        ports = {}
        for name in ("kafka", "redis"):
            known = state.get(name) or {}
            address = known.get("address", "")
            if known.get("state") != "external" and address:
                port = urlsplit(address if "//" in address else f"//{address}").port
                ports.update({name: port} if port else {})
        return ports

    def release(self) -> None:
        """Give the folder back."""
        if self._file is not None:
            self._file.close()
            self._file = None
