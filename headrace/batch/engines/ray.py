"""Ray Data as the engine: the parts are a dataset, and a pool of actors does them.

The work folder must be reachable by every node under the same path. Each part is written there by the actor that does
it, as by a worker of this host, so the output is the same and so is what is resumed.
"""

import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.batch.engines.port import raise_if
from headrace.batch.engines.runner import OnRows, PartRunner, one_thread
from headrace.batch.job import PartResult
from headrace.runtime.errors import ConfigError, DependencyError


class _Actor:
    """Holds the model and does parts."""

    def __init__(self, folder: str) -> None:
        one_thread()
        self._runner = PartRunner(Path(folder))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A part's number to its result; `read` are the rows that were read."""
        read = 0

        def count(rows: int, _: int) -> None:
            nonlocal read
            read += rows

        result = self._runner.run(int(row["part"]), count)
        return {**msgspec.to_builtins(result), "read": read}


def _begin(ray: Any) -> None:
    try:
        ray.init(log_to_driver=False, include_dashboard=False)
    except Exception as error:  # Ray raises plain `Exception` where its processes do not come up
        raise DependencyError(
            f"Ray does not start, or does not answer: {error}", hint="RAY_ADDRESS names a cluster; ray status"
        ) from error


class RayEngine:
    """Runs parts on Ray Data, `count` at once; on the cluster that RAY_ADDRESS names, else on one of this host.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise ConfigError(
                "--engine ray: Ray is not installed in this environment", hint="pip install 'ray[data]'"
            ) from error
        self._ray: Any = ray

    def run(self, parts: Sequence[int], on_rows: OnRows, stop: threading.Event) -> Generator[PartResult, None, None]:
        """See `Engine.run`; rows are told of when their part is done."""
        ray = self._ray
        mine = not ray.is_initialized()
        if mine:
            _begin(ray)
        try:
            data = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
            done = data.map(_Actor, fn_constructor_args=(str(self._folder),), concurrency=min(self._count, len(parts)))
            for row in done.iter_rows():
                raise_if(stop)
                read = row.pop("read")
                result = msgspec.convert(row, PartResult)
                on_rows(read, result.bad)
                yield result
        finally:
            if mine:
                ray.shutdown()
