"""What an import tells whoever follows it, and its list of rows that do not fit."""

import os
from typing import IO, Protocol

import msgspec

from headrace.datasets.errors import TooManyBadRows
from headrace.datasets.importing.job import ImportJob
from headrace.model.source import BadRow

_LISTED = 10_000
"""More bad rows than these beyond what is allowed end an import at once."""
SHOWN = 20


class Observer(Protocol):
    """Is told how an import goes on."""

    def phase(self, name: str, total: int) -> None:
        """reading, writing, storing, announcing; `total` rows, 0 where they are not known."""
        ...

    def rows(self, count: int) -> None:
        """So many rows more in this phase."""
        ...

    def bad(self, row: BadRow, count: int) -> None:
        """A row is left out, the `count`-th."""
        ...


class Silent:
    """Tells nobody."""

    def phase(self, name: str, total: int) -> None:
        """See `Observer.phase`."""

    def rows(self, count: int) -> None:
        """See `Observer.rows`."""

    def bad(self, row: BadRow, count: int) -> None:
        """See `Observer.bad`."""


class BadRows:
    """Lists bad rows in the import's file; too many end the import."""

    def __init__(self, job: ImportJob, observer: Observer) -> None:
        self.count, self._job, self._observer = 0, job, observer
        self._first = ""
        self._file: IO[bytes] | None = None
        job.rejected.unlink(missing_ok=True)

    def add(self, row: BadRow) -> None:
        """One more.

        Raises:
            TooManyBadRows: there are far too many.
        """
        self.count += 1
        self._first = self._first or str(row)
        if self._file is None:
            self._file = self._job.rejected.open("wb")
        line = {"place": row.place, "field": row.field, "problem": row.problem}
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._observer.bad(row, self.count)
        if self.count > self._job.max_bad_rows + _LISTED:
            self.check(at_least=True)

    def check(self, *, at_least: bool = False) -> None:
        """Raise `TooManyBadRows` if there are more than allowed."""
        if self.count > self._job.max_bad_rows:
            count = f"{'at least ' if at_least else ''}{self.count} {'row does' if self.count == 1 else 'rows do'}"
            raise TooManyBadRows(
                f"{count} not fit, {self._job.max_bad_rows} allowed; the first: {self._first}",
                hint="mend them, or leave them out: --max-bad-rows N",
            )

    def close(self) -> None:
        """Write what is left."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
