"""What every input gives, and how inputs are to be read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from headrace.datasets.form import ColumnType, Form
from headrace.model.source import BadRow
from headrace.model.values import BadValue

BATCH_ROWS = 16_384
OnBad = Callable[[BadRow], None]
"""Is told of each row that is left out; may raise to end the import."""


@dataclass(frozen=True)
class Opening:
    """What every reader of files is given.

    `forced` are types of columns that are known, `renamed` says what columns are called in the set where that differs
    from the file; `work` is a folder for the time of the import, `on_bad` is told of rows that are left out. `tick` is
    called with the number of rows that were looked at, and may raise to stop. `check` says what is wrong with a line of
    JSON that is to be a record of the pipeline.
    """

    form: Form
    work: Path
    on_bad: OnBad
    forced: Mapping[str, ColumnType] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    tick: Callable[[int], None] = lambda _: None
    check: Callable[[bytes | str], BadValue | None] | None = None


@dataclass(frozen=True)
class Read:
    """Some rows: `place` says where the i-th of them stood, for people."""

    rows: pa.RecordBatch
    place: Callable[[int], str]


@dataclass
class Facts:
    """What an input is, for the manifest: `details` of the source; filled in while it is read."""

    details: dict[str, Any] = field(default_factory=dict)
    encoding: str = ""
    parents: list[str] = field(default_factory=list)
    time: str = ""
    label_time: str = ""
    key: str = ""


class Input(Protocol):
    """An input that is opened: its columns are known. All its rows are read once."""

    schema: pa.Schema
    facts: Facts
    total: int
    """Rows, as far as they are known; else 0."""

    def read(self) -> Iterator[Read]:
        """The rows in order; those that do not fit are told of and left out."""
        ...
