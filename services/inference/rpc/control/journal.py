"""What a worker that starts must be told, so that it is as the others are."""

from collections.abc import Sequence
from typing import Any

Operation = tuple[str, list[Any]]


class Journal:
    """The operations whose effect still stands, in the order in which they came."""

    def __init__(self) -> None:
        self._standing: dict[tuple[str, str], Operation] = {}

    def note(self, name: str, arguments: Sequence[Any]) -> None:
        """An operation was done; what it undoes or replaces is forgotten."""
        if name == "unregister":
            for kind, region in list(self._standing):
                if kind == "region" and arguments[0] in ("", region):
                    del self._standing[kind, region]
        elif name == "register":
            self._stand("region", arguments[0], name, list(arguments))
        elif name in ("load", "unload"):
            self._stand("model", arguments[0], name, list(arguments))
        elif name in ("logging", "trace"):
            for setting, value in arguments[0].items():
                self._stand(name, setting, name, [{setting: value}])

    def standing(self) -> list[Operation]:
        """What to do in a worker that starts."""
        return list(self._standing.values())

    def _stand(self, kind: str, of: str, name: str, arguments: list[Any]) -> None:
        self._standing.pop((kind, of), None)
        self._standing[kind, of] = name, arguments
