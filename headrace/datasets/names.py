"""How data sets are named: `rides@3` is version 3 of the set `rides`, `rides` its newest version."""

import re
from typing import NamedTuple

from headrace.runtime.errors import ConfigError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_OTHERS = re.compile(r"[^a-z0-9._-]+")
_DIGITS = 15


class Wanted(NamedTuple):
    """A set as people name it; `version` None is the newest."""

    name: str
    version: int | None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


def check_name(name: str) -> str:
    """The name, if it is one.

    Raises:
        ConfigError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name[:100]!r} is no name of a data set",
            hint="up to 100 lower-case letters, digits, dots, dashes and underscores; the first a letter or digit",
        )
    return name


def wanted(text: str) -> Wanted:
    """What `name`, `name@newest` or `name@3` mean.

    Raises:
        ConfigError: it is none of these.
    """
    name, at, version = text.partition("@")
    check_name(name)
    if not at or version == "newest":
        return Wanted(name, None)
    number = int(version) if version.isascii() and version.isdigit() and len(version) <= _DIGITS else 0
    if number < 1:
        raise ConfigError(f"{text[:200]!r}: expected a version from 1 on", hint=f"{name}@1, or {name} for the newest")
    return Wanted(name, number)


def name_of_file(stem: str) -> str:
    """A set's name made of a file's: `Rides 2026 (final)` is `rides-2026-final`.

    Raises:
        ConfigError: nothing of it may be in a name.
    """
    made = _OTHERS.sub("-", stem.casefold()).strip("-._")[:100]
    return check_name(made) if made else check_name(stem)
