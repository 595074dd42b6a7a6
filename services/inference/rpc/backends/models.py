"""The models of a repository in a server's registry: those that are there at the start, and those that come later."""

import asyncio
import contextlib

from headrace.runtime.logging import get_logger
from services.inference.rpc.backends.model import RepositoryModel
from services.inference.rpc.backends.repository import Repository
from services.inference.rpc.models.registry import Registry

log = get_logger("headrace.rpc")


class RepositoryModels:
    """See the module. Its methods belong to the event loop's thread.

    Args:
        registry: where the models are served.
        repository: where they are read from.
        queue, overdue_s: see `RepositoryModel`.
        poll_s: seconds between looks at the folder for models that are new, changed or gone; 0 looks at none.
    """

    def __init__(
        self, registry: Registry, repository: Repository, queue: int, overdue_s: float, poll_s: float = 0.0
    ) -> None:
        self._registry, self._repository = registry, repository
        self._queue, self._overdue_s, self._poll_s = queue, overdue_s, poll_s
        self._models: dict[str, RepositoryModel] = {}
        self._polling: asyncio.Task[None] | None = None
        registry.discover = self._discover

    async def add_all(self) -> None:
        """Add the models that are there now; whoever starts the registry's models starts them."""
        for name in await asyncio.to_thread(self._repository.names):
            self._add(name)

    def start(self) -> None:
        """Look for changes from now on, where that is wanted."""
        if self._poll_s:
            self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Look for changes no more."""
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling

    def _add(self, name: str) -> RepositoryModel | None:
        model = RepositoryModel(self._repository, name, self._queue, self._overdue_s)
        if any(other.name == name for other in self._registry):
            if name not in self._models:
                log.error("a model of the repository has the name of a pipeline's, and is not served", model=name)
            return None
        self._registry.add(model)
        self._models[name] = model
        return model

    async def _discover(self, name: str) -> RepositoryModel | None:
        """The model of this name, if it has come since: it is in the registry from then on."""
        if name not in await asyncio.to_thread(self._repository.names):
            return None
        found = self._add(name)
        if found is not None:
            found.required = False  # the server is ready, and stays so
        return found

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self._look()
            except OSError as error:
                log.error("the model repository cannot be read", error=str(error))  # noqa: TRY400

    async def _look(self) -> None:
        names = await asyncio.to_thread(self._repository.names)
        for name in [name for name in self._models if name not in names]:
            log.info("a model has left the repository", model=name)
            self._registry.remove(name)
            await self._models.pop(name).stop()
        for name in names:
            model = self._models.get(name)
            if model is None and (model := await self._discover(name)) is None:
                continue
            if model.loaded and await asyncio.to_thread(self._repository.mark, name) != model.mark:
                await model.try_load()
