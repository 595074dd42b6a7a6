"""All models of one server, by name: every transport asks it, and it asks the model."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from services.inference.oip.messages import InferAnswer, InferRequest, InvalidRequest, NotFound
from services.inference.oip.shared_memory import Regions
from services.inference.rpc.batching.jobs import Job
from services.inference.rpc.served import Attaching, Deliver, Served, infer


class Registry:
    """The models, and what they share.

    Args:
        models: at least one; the first is the documentation's example.
        regions: system shared memory; by default it is switched off.

    Raises:
        ValueError: two have the same name.
    """

    def __init__(self, models: Iterable[Served], regions: Regions | None = None) -> None:
        self.regions = regions or Regions()
        self.discover: Callable[[str], Awaitable[Served | None]] | None = None
        """Asked for a model that `load` names and that is not there; adds it."""
        self._models: dict[str, Served] = {}
        for model in models:
            self.add(model)

    def __iter__(self) -> Iterator[Served]:
        """The models, in the order in which they came."""
        return iter(tuple(self._models.values()))

    def add(self, model: Served) -> None:
        """Serve a further model.

        Raises:
            ValueError: there is one of this name.
        """
        if model.name in self._models:
            raise ValueError(f"two models have the name {model.name!r}")
        self._models[model.name] = model

    def remove(self, name: str) -> None:
        """Serve a model no more."""
        self._models.pop(name, None)

    def find(self, name: str) -> Served:
        """The model of this name.

        Raises:
            NotFound: there is none.
        """
        found = self._models.get(name)
        if found is None:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        return found

    # Health.

    @property
    def ready(self) -> bool:
        """Whether every required model that is loaded is ready. Requests are answered all the same."""
        return not any(model.reason for model in self._required())

    @property
    def available(self) -> bool:
        """Whether every required model that is loaded has a version to answer with."""
        return all(model.available for model in self._required())

    def model_ready(self, name: str, version: str = "") -> bool:
        """Whether requests to this model and version are answered; False for an unknown one.

        Raises:
            InvalidRequest: the version is no integer.
        """
        found = self._models.get(name)
        return found is not None and found.model_ready(version)

    def _required(self) -> Iterator[Served]:
        return (model for model in self._models.values() if model.required and model.loaded)

    # What is served.

    def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """A ModelMetadataResponse.

        Raises:
            NotFound, InvalidRequest: no such model or version.
        """
        return self.find(name).metadata(version)

    def config(self, name: str, version: str = "") -> dict[str, Any]:
        """A ModelConfig; errors as `metadata`."""
        return self.find(name).config(version)

    def model_statistics(self, name: str = "", version: str = "") -> list[dict[str, Any]]:
        """A ModelStatistics of each model, or of the one named; errors as `metadata`."""
        if name:
            return self.find(name).model_statistics(version)
        if version:
            raise InvalidRequest("statistics of a version need the name of its model")
        return [found for model in self._models.values() for found in model.model_statistics()]

    def index(self, *, ready_only: bool = False) -> list[dict[str, Any]]:
        """The ModelIndex of each model and version."""
        entries = [entry for model in self._models.values() for entry in model.index()]
        return [entry for entry in entries if not ready_only or entry["state"] == "READY"]

    async def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Serve a model again after `unload`.

        Raises:
            InvalidRequest: there is no such model, or another configuration is asked for.
        """
        found = self._models.get(name)
        if found is None and self.discover is not None:
            found = await self.discover(name)
        if found is None:
            known = ", ".join(f"'{known}'" for known in self._models)
            raise InvalidRequest(f"failed to load '{name}', this server serves {known} alone")
        await found.load(parameters)

    async def unload(self, name: str) -> None:
        """Answer no more requests to a model, until `load`. An unknown one is as good as unloaded."""
        found = self._models.get(name)
        if found is not None:
            await found.unload()

    # Predicting.

    def submit(self, request: InferRequest, deliver: Deliver, peer: str = "") -> tuple[Served, Job]:
        """Have a request answered; see `Served.submit`. Returns whose job it is, too.

        Raises:
            OipError: the request is refused; then `deliver` is not called.
        """
        found = self.find(request.model)
        return found, found.submit(request, deliver, peer)

    async def infer(self, request: InferRequest, peer: str = "", seen: Attaching | None = None) -> InferAnswer:
        """Predict; see `services.inference.rpc.served.infer`.

        Raises:
            OipError: what was wrong, with the status codes to answer with.
        """
        return await infer(self.find(request.model), request, peer, seen)
