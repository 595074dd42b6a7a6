"""The list of jars: `jars.lock`, one line a jar: `group:artifact:version SIZE sha256:DIGEST`."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from headrace.runtime.errors import PlatformError

KAFKA = "org.apache.kafka:kafka_2.13"
_LINE = re.compile(
    r"(?P<group>[\w.-]+):(?P<artifact>[\w.-]+):(?P<version>[\w.-]+) +(?P<size>\d+) +sha256:(?P<sha256>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Jar:
    """One jar of the list; `size` in bytes, `sha256` in hex."""

    group: str
    artifact: str
    version: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in the cache."""
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    def is_intact(self, path: Path) -> bool:
        """Whether `path` holds exactly this jar."""
        try:
            if path.stat().st_size != self.size:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except (FileNotFoundError, NotADirectoryError):
            return False


def parse(lines: Iterable[str]) -> list[Jar]:
    """Jars from the list's lines; `#` starts a comment line.

    Raises:
        PlatformError: a line is not a jar; the message has its number.
    """
    jars = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise PlatformError(
                f"jars.lock, line {number}: {line!r}", hint="expected group:artifact:version SIZE sha256:DIGEST"
            )
        jars.append(Jar(match["group"], match["artifact"], match["version"], int(match["size"]), match["sha256"]))
    return jars


def locked_jars() -> list[Jar]:
    """The jars of the embedded broker."""
    return parse((files("headrace.platform.kafka") / "jars.lock").read_text().splitlines())


def kafka_version(jars: Iterable[Jar]) -> str:
    """The version of Kafka that `jars` make up.

    Raises:
        PlatformError: they hold no broker.
    """
    for jar in jars:
        if f"{jar.group}:{jar.artifact}" == KAFKA:
            return jar.version
    raise PlatformError(f"jars.lock has no {KAFKA}", hint="reinstall headrace")
