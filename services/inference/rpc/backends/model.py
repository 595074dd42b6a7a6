"""A model of the repository, as the registry and the transports know it: its versions, each apart from the others."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from headrace.runtime.logging import get_logger
from services.inference.oip import describe
from services.inference.oip.kinds import Kind, TensorSpec
from services.inference.oip.labels import LATEST, NEWEST, NUMBER, no_version
from services.inference.oip.messages import InferRequest, InvalidRequest, NotFound, OipError, Unavailable
from services.inference.oip.plain_json import PlainJson
from services.inference.rpc import timing
from services.inference.rpc.backends.config import ConfigInvalid, ModelSettings
from services.inference.rpc.backends.port import TensorInfo
from services.inference.rpc.backends.repository import LoadedModel, Repository
from services.inference.rpc.backends.version import RunningVersion
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.parameters import timeout_of
from services.inference.rpc.served import Deliver, Repeats
from services.inference.rpc.statistics import Statistics

log = get_logger("headrace.rpc")

_LOADING, _UNLOADED = "it is being loaded", "unloaded"
_STOP_S, _REPLACED_S = 5.0, 120.0


class RepositoryModel:
    """See `services.inference.rpc.served.Served`. The server waits for its first load, whether that succeeds or not.

    Args:
        repository: where it is read from.
        name: its folder there.
        queue: rows that may wait, where the configuration does not say.
        overdue_s: seconds after which an execution is given up; 0 is never.
    """

    def __init__(self, repository: Repository, name: str, queue: int = 1 << 18, overdue_s: float = 0.0) -> None:
        self.name, self.required = name, True
        self.statistics = Statistics()
        self.json_outputs: frozenset[str] = frozenset()
        self.plain_json: PlainJson | None = None
        self.repeats: Repeats | None = None
        self.inputs: list[TensorSpec] = []
        self.mark = ""
        """Of the files as they were when they were last read."""
        self._repository, self._queue, self._overdue_s = repository, queue, overdue_s
        self._running: dict[int, RunningVersion] = {}
        self._broken: dict[int, str] = {}
        self._why = _LOADING
        self._loaded = True
        self._labels: Mapping[str, int] = {}
        self._jobs: dict[Job, RunningVersion] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()

    # Health.

    @property
    def loaded(self) -> bool:
        """See `Served`."""
        return self._loaded

    @property
    def available(self) -> bool:
        """See `Served`."""
        return bool(self._running)

    @property
    def reason(self) -> str:
        """See `Served`."""
        if not self._running:
            return self._why or "; ".join(self._broken.values())
        return self._running[max(self._running)].reason

    def model_ready(self, version: str = "") -> bool:
        """See `Served`."""
        try:
            return not self._chosen(version).reason
        except (NotFound, Unavailable):
            return False

    # What is served.

    def metadata(self, version: str = "") -> dict[str, Any]:
        """See `Served`."""
        settings = self._chosen(version).settings
        return {
            "name": self.name,
            "versions": [str(number) for number in sorted(self._running)],
            "platform": settings.message.platform or settings.message.backend,
            "inputs": [_described(info, settings) for info in settings.signature.inputs],
            "outputs": [_described(info, settings) for info in settings.signature.outputs],
        }

    def config(self, version: str = "") -> dict[str, Any]:
        """See `Served`."""
        return self._chosen(version).settings.as_dict()

    def model_statistics(self, version: str = "") -> list[dict[str, Any]]:
        """See `Served`; a version that is loaded again from other files is counted from 0."""
        wanted = [self._chosen(version)] if version else [self._running[n] for n in sorted(self._running)]
        return [one.statistics.as_dict(self.name, one.loaded.number) for one in wanted]

    def index(self) -> list[dict[str, Any]]:
        """See `Served`."""
        reasons = self._broken | {number: one.reason for number, one in self._running.items()}
        entries = [describe.index_entry(self.name, number, reason) for number, reason in sorted(reasons.items())]
        return [*entries, *([describe.index_entry(self.name, 0, self._why)] if self._why else [])]

    # Loading.

    async def load(self, parameters: Mapping[str, Any]) -> None:
        """See `Served`: the files are read again. Where they cannot be served, what was served before is still."""
        if parameters:
            raise InvalidRequest(f"failed to load '{self.name}', its configuration is its config.pbtxt's alone")
        async with self._changing:
            failed = await self._read()
        if failed:
            raise InvalidRequest(f"failed to load '{self.name}', {failed}")

    async def _read(self) -> str:
        """Read the files and serve them; return why not, or not all of them."""
        known = {number: one.loaded for number, one in self._running.items()}
        try:
            self.mark = await asyncio.to_thread(self._repository.mark, self.name)
            read = await asyncio.to_thread(self._repository.load, self.name, known)
        except (ConfigInvalid, OSError) as error:
            self._why, self._broken = str(error), {}
            self._settled()
            return self._why
        failed = "; ".join(read.broken.values())
        if failed and self._running:
            unused = [new for number, new in read.versions.items() if known.get(number) is not new]
            await asyncio.gather(*(asyncio.to_thread(new.backend.close) for new in unused))
            self._why, self._broken = failed, {}
        else:
            self._why, self._broken = "", dict(read.broken)
            self._serve(read)
        self._settled()
        return failed

    def _serve(self, read: LoadedModel) -> None:
        """From here on requests go to what was read; those in hand are answered by what they came to."""
        before, self._running = self._running, {}
        for number, loaded in read.versions.items():
            old = before.get(number)
            if old is not None and old.loaded is loaded:
                self._running[number] = before.pop(number)
            else:
                self._running[number] = RunningVersion(
                    read.settings, loaded, self.statistics, self._queue, self._overdue_s
                )
        self._labels = read.settings.labels
        self.inputs = [_spec(info) for info in read.settings.signature.inputs]
        self._retire(before)

    def _settled(self) -> None:
        self._loaded, self.required = True, False

    async def unload(self) -> None:
        """See `Served`. Its memory is given back."""
        async with self._changing:
            before, self._running, self._broken = self._running, {}, {}
            self._loaded, self._why = False, _UNLOADED
            self._retire(before)

    def _retire(self, versions: Mapping[int, RunningVersion]) -> None:
        for one in versions.values():
            task = asyncio.create_task(one.retire(_REPLACED_S))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def start(self) -> None:
        """See `Served`."""
        task = asyncio.create_task(self.try_load())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def try_load(self) -> None:
        """Load; a failure is logged, and in the index."""
        try:
            await self.load({})
        except InvalidRequest as error:
            log.error("a model of the repository cannot be loaded", model=self.name, error=str(error))  # noqa: TRY400
        except Exception as error:
            self._why = f"{type(error).__name__}: {error}"
            self._settled()
            log.exception("a model of the repository cannot be loaded", model=self.name)

    async def stop(self) -> None:
        """See `Served`."""
        async with self._changing:
            before, self._running, self._why = self._running, {}, "the server stops"
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(one.retire(_STOP_S) for one in before.values()))

    # Predicting.

    def submit(self, request: InferRequest, deliver: Deliver, peer: str = "") -> Job:
        """See `Served`."""
        arrived = time.perf_counter_ns()
        version: RunningVersion | None = None
        try:
            version = self._chosen(request.version)
            job = _job(version, request, peer, arrived)

            def delivered(outcome: Outcome) -> None:
                self._jobs.pop(job, None)
                deliver(outcome)

            version.submit(job, delivered)
        except OipError:
            (self.statistics if version is None else version).failed(time.perf_counter_ns() - arrived)
            raise
        self._jobs[job] = version
        return job

    def cancel(self, job: Job) -> None:
        """See `Served`."""
        version = self._jobs.pop(job, None)
        if version is not None:
            version.cancel(job)

    def _chosen(self, version: str) -> RunningVersion:
        """The version that is asked for, "" for the highest.

        Raises:
            NotFound, InvalidRequest: there is none.
            Unavailable: the model cannot be served.
        """
        if not self._loaded:
            raise NotFound(f"Request for unknown model: '{self.name}' has no available versions")
        number = (
            max(self._running, default=0) if version in NEWEST else self._labels.get(version) or self._number(version)
        )
        found = self._running.get(number)
        if found is not None:
            return found
        if not self._running or number in self._broken:
            why = self._broken.get(number) or self._why or "; ".join(self._broken.values())
            raise Unavailable(f"model '{self.name}' is not available: {why}")
        served = ", ".join(map(str, sorted(self._running)))
        raise NotFound(f"Request for unknown model: '{self.name}' version {version} is not found: served are {served}")

    def _number(self, version: str) -> int:
        if not NUMBER.fullmatch(version):
            raise no_version(version, ", ".join((LATEST, *self._labels)))
        return int(version)


def _job(version: RunningVersion, request: InferRequest, peer: str, arrived: int) -> Job:
    parameters = request.parameters
    return Job(
        version.tables.table(request),
        _nobody,
        version.loaded.number,
        tuple(request.outputs),
        request.id,
        peer,
        version.priorities.of(parameters) if parameters else version.priorities.default,
        version.timeout_us(timeout_of(parameters) if parameters else 0),
        arrived,
        places=request.places,
        timing=timing.timing_wanted(parameters) if parameters else False,
    )


def _described(info: TensorInfo, settings: ModelSettings) -> dict[str, Any]:
    shape = [-1, *info.dims] if settings.signature.batched else list(info.dims)
    return {"name": info.name, "datatype": info.datatype, "shape": shape}


def _spec(info: TensorInfo) -> TensorSpec:
    return TensorSpec(info.name, Kind(info.datatype, wide=info.dims[-1:] != (1,)), info.optional)


def _nobody(_: Outcome) -> None:
    """Before a request is submitted."""
