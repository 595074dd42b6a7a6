"""What every reader gives: a batch of rows, checked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from headrace.batch.job import Part, Rejected
from headrace.batch.reading.fields import Arrays


@dataclass(frozen=True)
class Rows:
    """Some rows of one file.

    Attributes:
        file: as it is named to people.
        events: the good rows as events; None where they are columns.
        columns: the good rows' fields, as `Model.features_of_columns` takes them; None where they are events.
        carried: the good rows' columns that go to the output.
        numbers: where each good row stands in its file, from 1.
        bad: the others.
        read: rows that were read, good and bad.
    """

    file: str
    events: Sequence[Any] | None
    columns: Arrays | None
    carried: pa.RecordBatch
    numbers: Sequence[int]
    bad: list[Rejected]
    read: int


class Reader(Protocol):
    """Reads parts of a job's files."""

    def read(self, part: Part) -> Iterator[Rows]:
        """The part's rows in order, `batch_rows` at a time."""
        ...
