"""`python -m headrace.archive.queries`: one query, as JSON on standard input; its answer on standard output.

The process ends with 0 and the answer, or with 2 and a `Failure`.
"""

import resource
import sys
from pathlib import Path

import msgspec

from headrace.archive.queries.answers import csv_bytes, parquet_bytes, shown
from headrace.archive.queries.checking import QueryError, QueryTimeoutError, QueryTooLargeError
from headrace.archive.queries.request import Failure, QueryRequest
from headrace.archive.queries.running import QueryLimits, ask
from headrace.archive.queries.tables import describe_tables
from headrace.runtime.errors import HeadraceError

_BESIDE_MB = 3072
"""Address space that the process may have beside its query's memory: libraries, threads' stacks, the answer."""


def main() -> int:
    """Answer one query; returns the exit code."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=QueryRequest)
    most = (request.memory_mb + _BESIDE_MB) << 20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        sys.stdout.buffer.write(answer(request))
    except HeadraceError as error:
        sys.stdout.buffer.write(msgspec.json.encode(Failure(_kind(error), error.message, error.hint)))
        return 2
    except MemoryError:
        failure = Failure("memory", f"the query needs more than {request.memory_mb} MiB")
        sys.stdout.buffer.write(msgspec.json.encode(failure))
        return 2
    return 0


def answer(request: QueryRequest) -> bytes:
    """The answer in the form that is asked for.

    Raises:
        HeadraceError: there is none.
    """
    root = Path(request.root)
    if request.form == "tables":
        return msgspec.json.encode(describe_tables(root, request.pipeline))
    limits = QueryLimits(request.rows, request.seconds, request.memory_mb)
    found = ask(root, request.pipeline, request.sql, limits)
    if request.form == "csv":
        return csv_bytes(found.table)
    return parquet_bytes(found.table) if request.form == "parquet" else msgspec.json.encode(shown(found))


def _kind(error: HeadraceError) -> str:
    kinds = ((QueryTimeoutError, "timeout"), (QueryTooLargeError, "memory"), (QueryError, "query"))
    return next((name for kind, name in kinds if isinstance(error, kind)), "other")


if __name__ == "__main__":
    sys.exit(main())
