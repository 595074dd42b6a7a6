"""What SQL may be asked: one query, over the archive's tables alone."""

from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.runtime.errors import ConfigError

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
"""Those that a query may select from: none of them reads a file, an address or the database's own state."""


class QueryError(ConfigError):
    """The SQL is wrong, or asks for what it may not."""


class QueryTimeoutError(QueryError):
    """The query took longer than it may."""


class QueryTooLargeError(QueryError):
    """The query needed more memory than it may have."""


def check(connection: Any, sql: str) -> None:
    """Refuse anything but one SELECT over tables and harmless functions.

    Raises:
        QueryError: what is wrong with it.
    """
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(str(error).strip()) from error
    if len(statements) != 1:
        raise QueryError(f"{len(statements)} statements where one query is expected")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError(f"only a query can be asked, not {statements[0].type.name}", hint="begin with select or with")
    found = connection.execute("select json_serialize_sql(?)", [statements[0].query]).fetchall()[0][0]
    tree = msgspec.json.decode(found)
    if tree.get("error"):
        raise QueryError(str(tree.get("error_message", "the query cannot be read")))
    for name in _table_functions(tree):
        if name not in TABLE_FUNCTIONS:
            allowed = ", ".join(sorted(TABLE_FUNCTIONS))
            raise QueryError(f"a query may not select from {name}(...)", hint=f"of functions only from {allowed}")


def _table_functions(node: Any) -> Iterator[str]:
    """The functions that a query selects from, wherever in it."""
    if isinstance(node, list):
        for one in node:
            yield from _table_functions(one)
    elif isinstance(node, dict):
        if node.get("type") == "TABLE_FUNCTION":
            function = node.get("function") or {}
            yield str(function.get("function_name", "?")).lower()
        for one in node.values():
            yield from _table_functions(one)
