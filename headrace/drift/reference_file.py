"""A file of references: what a data set's columns are like, as JSON, to compare a stream with."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from headrace.drift.reference import ColumnReference, as_plain, from_plain
from headrace.runtime.errors import ConfigError

VERSION = 1


def write_reference(path: Path, references: Mapping[str, ColumnReference], events: int, source: str) -> None:
    """Write references by column; `events` and `source` say what they were made of."""
    body = {
        "headrace_reference": VERSION, "events": events, "source": source,
        "columns": {name: as_plain(reference) for name, reference in references.items()},
    }  # fmt: skip
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(body), indent=1))
    temporary.replace(path)


def read_reference(path: Path) -> dict[str, ColumnReference]:
    """The references by column.

    Raises:
        ConfigError: the file cannot be read, or is none of `write_reference`'s; the text names it and the column.
    """
    hint = "headrace drift reference PIPELINE --input FILE --output FILE writes one"
    try:
        body = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint=hint) from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}", hint=hint) from error
    if not isinstance(body, dict) or body.get("headrace_reference") != VERSION:
        raise ConfigError(f"{path}: not a reference of this release", hint=hint)
    found = {}
    for name, plain in body["columns"].items():
        try:
            found[name] = from_plain(plain)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: column {name}: {error}", hint=hint) from error
    return found
