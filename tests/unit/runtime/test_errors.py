"""The tree of errors that is drawn in headrace/runtime/errors.py is the tree of classes, with their exit codes."""

import re

from headrace.runtime import errors
from headrace.runtime.errors import HeadraceError
from headrace.weights.errors import StoreUnavailable

LINE = re.compile(r"^([│├└─ ]*)(\w+) +(\d+)  \S")


def drawn() -> dict[str, tuple[str | None, int]]:
    """Each error's parent and exit code, as they are drawn."""
    found: dict[str, tuple[str | None, int]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := LINE.match(line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            found[match[2]] = (path[depth - 1] if depth else None, int(match[3]))
    return found


def test_the_tree_is_the_one_that_is_drawn() -> None:
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HeadraceError)]
    expected = {
        kind.__name__: (kind.__base__.__name__ if kind is not HeadraceError else None, int(kind.exit_code))
        for kind in ours
    }
    tree = drawn()
    assert tree.pop("StoreUnavailable")[1] == StoreUnavailable.exit_code == 3
    assert tree == expected


def test_an_error_says_what_is_wrong_and_what_to_do() -> None:
    assert str(errors.ConfigError("no pipeline", hint="--pipeline FOLDER")) == "no pipeline (--pipeline FOLDER)"
    assert str(errors.DataError("too many")) == "too many"
