"""Answering queries: those of series in this process, SQL in processes of its own.

DuckDB is not loaded here: what a query of SQL takes, in memory and time, ends with its process.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headrace.archive.queries.checking import QueryError, QueryTimeoutError, QueryTooLargeError
from headrace.archive.queries.request import Failure, QueryRequest
from headrace.archive.series.reading import MetricsReader
from headrace.runtime.errors import DependencyError, HeadraceError

_START_S = 60.0
"""What starting a process may take beside the query's time."""


class BusyError(HeadraceError):
    """As many queries are running as may."""


def in_process_of_its_own(request: QueryRequest) -> bytes:
    """The answer of a query, from a process that is started for it.

    Raises:
        QueryError: the SQL is wrong, is not allowed, took too long or needed too much.
        DependencyError: the process failed otherwise.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "headrace.archive.queries"],
            input=msgspec.json.encode(request), capture_output=True, check=False, timeout=request.seconds + _START_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise QueryTimeoutError(f"the query took more than {request.seconds:g} s") from error
    if done.returncode == 0:
        return done.stdout
    raise _failed(done)


class Answerer:
    """Answers over the archive in a folder.

    Args:
        root: the archive's folder.
        pipeline: its name.
        most: the limits of a query, which a caller may only lower.
        running: queries of SQL at the same time.
        run: answers one.
    """

    def __init__(
        self,
        root: Path,
        pipeline: str,
        most: QueryRequest,
        *,
        running: int,
        run: Callable[[QueryRequest], bytes] = in_process_of_its_own,
    ) -> None:
        self._root, self._pipeline, self._most, self._run = root, pipeline, most, run
        self._free = threading.BoundedSemaphore(running)
        self.metrics = MetricsReader(root)

    def query(self, sql: str, rows: int, seconds: float, form: str) -> bytes:
        """The answer of one query, in that form: json, csv or parquet.

        Raises:
            QueryError: the SQL is wrong, is not allowed, took too long or needed too much.
            BusyError: as many are running as may.
        """
        most = self._most
        return self._limited(
            QueryRequest(
                str(self._root), self._pipeline, sql, form,
                min(rows, most.rows), min(seconds, most.seconds), most.memory_mb,
            )
        )  # fmt: skip

    def tables(self) -> Any:
        """The tables as REST shows them."""
        return msgspec.json.decode(self._limited(msgspec.structs.replace(self._most, form="tables")))

    def _limited(self, request: QueryRequest) -> bytes:
        if not self._free.acquire(blocking=False):
            raise BusyError("as many queries are running as may", hint="try again in a few seconds")
        try:
            return self._run(request)
        finally:
            self._free.release()


def _failed(done: "subprocess.CompletedProcess[bytes]") -> HeadraceError:
    kinds = {"timeout": QueryTimeoutError, "memory": QueryTooLargeError, "query": QueryError}
    try:
        failure = msgspec.json.decode(done.stdout, type=Failure)
    except msgspec.MsgspecError:
        if done.returncode < 0:
            return QueryTooLargeError(f"the query's process was killed by signal {-done.returncode}")
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return DependencyError(f"the query's process ended with {done.returncode}: {last}")
    return kinds.get(failure.kind, DependencyError)(failure.message, hint=failure.hint)
