"""What a person is shown of a run: gathered from the supervisor, the monitor's snapshot and the logs."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from headrace.contracts import snapshot as contract
from headrace.contracts.snapshot import Snapshot
from headrace.launch.specs import RoleStatus
from headrace.runtime.http import fetch

_LINE = re.compile(r"^(?P<at>\d{4}-\d\d-\d\dT\S+) \[(?P<level>\w+)\s*\] (?P<text>.*)$")
_NOISE = re.compile(r"\[headrace[\w.]*\]|\b(instance|role)=\S+|\bsettings=\{.*\}")
_READ_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class LogLine:
    """One line of a role's log. `at` is its time as written, which sorts; that of the line before where it has none."""

    role: str
    level: str
    text: str
    at: str = ""


@dataclass(frozen=True)
class View:
    """One moment of a run."""

    title: str
    phase: str
    elapsed_s: float
    roles: Sequence[RoleStatus]
    snapshot: Snapshot | None = None
    log: Sequence[LogLine] = field(default_factory=tuple)


def endpoint(roles: Sequence[RoleStatus], role: str, name: str) -> str | None:
    """The address that a role published under `name`; None before it has."""
    return next((r.endpoints[name] for r in roles if r.role == role and name in r.endpoints), None)


def read_snapshot(roles: Sequence[RoleStatus]) -> Snapshot | None:
    """The monitor's newest snapshot; None while there is none."""
    address = endpoint(roles, "monitor", "rest")
    body = fetch(f"{address}/v1/snapshot") if address else None
    try:
        return contract.decode(body) if body else None
    except msgspec.DecodeError:
        return None


class Logs:
    """Follows every log of a run; keeps the last lines."""

    def __init__(self, folder: Path, keep: int = 200) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {path: path.stat().st_size for path in folder.glob("*.log")}
        self._lines: deque[LogLine] = deque(maxlen=keep)

    def lines(self) -> tuple[LogLine, ...]:
        """The last lines, oldest first, what was written meanwhile included."""
        new: list[LogLine] = []
        for path in sorted(self._folder.glob("*.log")):
            at = self._read.get(path, 0)
            size = path.stat().st_size
            if size > at:
                new += self._taken(path, max(at, size - _READ_AT_ONCE))
        self._lines.extend(sorted(new, key=lambda line: line.at))
        return tuple(self._lines)

    def _taken(self, path: Path, at: int) -> Iterator[LogLine]:
        with path.open("rb") as file:
            file.seek(at)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read[path] = at + len(whole) + len(newline)
        before = ""
        for text in whole.decode(errors="replace").splitlines():
            if text.strip():
                line = parse(path.stem, text, before)
                before = line.at
                yield line


def parse(role: str, text: str, before: str = "") -> LogLine:
    """A line of a log as the console format writes it; any other line as it is, at the time of the one `before`."""
    found = _LINE.match(text)
    if found is None:
        return LogLine(role, "", text.rstrip(), before)
    said = _NOISE.sub(" ", found["text"])  # who says it stands in front already
    return LogLine(role, found["level"], " ".join(said.split()), found["at"])
