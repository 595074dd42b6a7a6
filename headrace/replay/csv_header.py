"""The header of a CSV file: which column is which field of the struct, and what the file's separator is.

A name is a field's if it is the same, or failing that, if both have the same letters and digits: `Ambient Temp` is
`ambient_temp`. The first line may be `sep=;`, as Excel writes and reads it.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace.replay.text import DELIMITERS, OTHER_ENCODING, not_of, opened, spelled, unreadable
from headrace.runtime.errors import ConfigError

_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_SHOWN = 60
_MOST_LINES = 20


@dataclass(frozen=True)
class Header:
    """A header that fits.

    `columns` are those that are fields, by position; `names` are all, as the file has them; `spaced`: a space follows
    separators.
    """

    delimiter: str
    columns: tuple[tuple[int, str], ...]
    width: int
    lines: int
    spaced: bool
    names: tuple[str, ...] = ()


class Names(NamedTuple):
    """What a header's lines say, before any of its names is anybody's field.

    `line` is where the names begin, `lines` how many lines the header has, `text` what they are.
    """

    names: list[str]
    delimiter: str
    spaced: bool
    line: int
    lines: int
    text: str


def read_names(path: Path, encoding: str, delimiter: str | None) -> Names:
    """The names of a file's columns.

    Raises:
        ConfigError: the header is empty, or not text of this encoding.
    """
    with opened(path, encoding, newline="") as file:
        first = file.readline()
        said = _SEPARATOR.fullmatch(first)
        text = file.readline() if said else first
        lines = 2 if said else 1
        while text.count('"') % 2 and lines < _MOST_LINES and (more := file.readline()):
            text, lines = text + more, lines + 1  # a name in quotes may hold a line break
    delimiter = delimiter or (said[1] if said else "\t" if path.suffix.lower() == ".tsv" else ",")
    line = 2 if said else 1
    if not text.strip():
        raise ConfigError(f"{path}:{line}: empty, expected a header that names columns")
    if unreadable(text):
        raise ConfigError(f"{path}:{line}: {not_of(encoding, text.strip())}", hint=OTHER_ENCODING)
    names, spaced = _names(text, delimiter)
    return Names(names, delimiter, spaced, line, lines, text)


def read_header(path: Path, struct: type[Any], encoding: str, delimiter: str | None) -> Header:
    """The header of the file.

    Raises:
        ConfigError: a field has no column, or several, or the header is not text of this encoding.
    """
    try:
        found = read_names(path, encoding, delimiter)
    except ConfigError as error:
        raise ConfigError(error.message, hint=error.hint or _fields(struct)) from error
    where = f"{path}:{found.line}"
    columns = matched(where, found.names, struct)
    if missing := [
        f.encode_name for f in msgspec.structs.fields(struct) if f.required and f.encode_name not in columns
    ]:
        raise _incomplete(where, found.text, found.delimiter, missing, struct)
    fitting = tuple((i, name) for name, i in columns.items())
    return Header(found.delimiter, fitting, len(found.names), found.lines, found.spaced, tuple(found.names))


def _names(text: str, delimiter: str) -> tuple[list[str], bool]:
    """The names in a header's line, and whether a space follows each separator."""
    raw = next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter), [])
    spaced = len(raw) > 1 and all(name.startswith(" ") for name in raw[1:])
    if spaced:
        raw = next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True), [])
    return [name.strip() for name in raw], spaced


def matched(where: str, names: list[str], struct: type[Any]) -> dict[str, int]:
    """The position of each field's column, in the order of the columns.

    Raises:
        ConfigError: two columns may be the same field.
    """
    fields = [f.encode_name for f in msgspec.structs.fields(struct)]
    found: dict[str, int] = {}
    for match in (str, _letters):
        rest = {match(name): name for name in fields if name not in found}
        for i, name in enumerate(names):
            field = rest.get(match(name))
            if field is None or i in found.values():
                continue
            if field in found:
                first = names[found[field]]
                what = f"two columns {name!r}" if name == first else f"columns {first!r} and {name!r} are both {field}"
                raise ConfigError(f"{where}: {what}", hint="rename one of them in the header")
            found[field] = i
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def _letters(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _incomplete(where: str, text: str, delimiter: str, missing: list[str], struct: type[Any]) -> ConfigError:
    """The error of a header that has no column for a required field; its hint may be another separator."""
    names, _ = _names(text, delimiter)
    for other in DELIMITERS:
        others, _ = _names(text, other)
        if len(others) > len(names):
            shown = text.strip() if len(text.strip()) <= _SHOWN else f"{text.strip()[:_SHOWN]}..."
            count = "one column" if len(names) == 1 else f"{len(names)} columns in"
            return ConfigError(
                f"{where}: {count} {shown!r}, and none is {', '.join(missing)}",
                hint=f"are columns separated by {spelled(other)}? --delimiter {spelled(other)}",
            )
    seen = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    return ConfigError(f"{where}: no column {', '.join(missing)}; there is {seen}", hint=_fields(struct))


def _fields(struct: type[Any]) -> str:
    return f"{struct.__name__} has {', '.join(struct.__struct_encode_fields__)}"
