"""What one process does of what clients ask beside predictions: statistics, load, unload, regions, logs, traces.

Operations have names, and take and return plain values, so that one process can ask them of another.
"""

from collections.abc import Mapping, Sequence
from inspect import isawaitable
from typing import Any, Protocol

from services.inference.oip.diagnostics import LogSettings, TraceSettings
from services.inference.rpc.models.registry import Registry


class Operations:
    """The operations, by their names.

    Args:
        models: all models of the server.
        logs, traces: the process's diagnostic settings.
    """

    def __init__(self, models: Registry, logs: LogSettings, traces: TraceSettings) -> None:
        regions = models.regions
        self._known: dict[str, Any] = {
            "statistics": models.model_statistics,
            "load": models.load,
            "unload": models.unload,
            "register": regions.register,
            "unregister": regions.unregister,
            "logging": logs.update,
            "trace": traces.update,
        }

    async def do(self, name: str, arguments: Sequence[Any]) -> Any:
        """One of them, in this process.

        Raises:
            OipError: it is refused.
        """
        done = self._known[name](*arguments)
        return await done if isawaitable(done) else done


class Reach(Protocol):
    """Whom an operation reaches: this process, or all that are one server with it."""

    async def do(self, name: str, arguments: Sequence[Any]) -> Any:
        """See `Operations.do`."""
        ...


class Alone:
    """Reaches this process."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def do(self, name: str, arguments: Sequence[Any]) -> Any:
        """See `Operations.do`."""
        return await self._operations.do(name, arguments)


class Control:
    """The operations with their types, for the transports. All raise an `OipError` where they are refused."""

    def __init__(self, reach: Reach) -> None:
        self._do = reach.do

    async def statistics(self, name: str = "", version: str = "") -> list[dict[str, Any]]:
        """A ModelStatistics of each model, or of the one named."""
        found: list[dict[str, Any]] = await self._do("statistics", (name, version))
        return found

    async def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Serve a model."""
        await self._do("load", (name, dict(parameters)))

    async def unload(self, name: str) -> None:
        """Answer no more requests to a model, until `load`."""
        await self._do("unload", (name,))

    async def register(self, name: str, key: Any, offset: Any, size: Any) -> None:
        """Open a region of system shared memory."""
        await self._do("register", (name, key, offset, size))

    async def unregister(self, name: str = "") -> None:
        """Forget a region, or all."""
        await self._do("unregister", (name,))

    async def logging(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Change log settings, and return them all."""
        found: dict[str, Any] = await self._do("logging", (dict(wanted),))
        return found

    async def trace(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Change trace settings, and return them all."""
        found: dict[str, Any] = await self._do("trace", (dict(wanted),))
        return found


def alone(models: Registry, logs: LogSettings | None = None, traces: TraceSettings | None = None) -> Control:
    """The operations of a process that is the whole server."""
    return Control(Alone(Operations(models, logs or LogSettings(), traces or TraceSettings())))
