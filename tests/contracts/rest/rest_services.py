"""Every service with REST, served over HTTP by its own app and logic, with a log in memory where Kafka would be."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import torch

from headrace.alerts.policy import Policy
from headrace.archive.fields.pipeline import FILE, load_fields
from headrace.archive.queries.__main__ import answer
from headrace.archive.queries.request import QueryRequest
from headrace.contracts.events_pb2 import Alert
from headrace.contracts.snapshot import Snapshot
from headrace.datasets.manifest import Manifest
from headrace.datasets.opening import Access
from headrace.datasets.storing.folder import FolderStore
from headrace.jobs.manager import Jobs
from headrace.jobs.records import Folder
from headrace.model.pipeline import load_pipeline
from headrace.rules.life import run_id
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.web import WebServer
from headrace.weights.worker.source import StaticWeights
from services.archive import rest as archive_rest
from services.archive.queries import Answerer
from services.batch import metrics as batch_metrics
from services.batch import rest as batch_rest
from services.batch.records import BatchRecord
from services.batch.settings import BatchSettings
from services.batch.submission import Submission as BatchSubmission
from services.datasets import metrics as datasets_metrics
from services.datasets import rest as datasets_rest
from services.datasets.records import ImportRecord
from services.datasets.settings import DatasetsSettings
from services.datasets.submission import Submission as DatasetsSubmission
from services.datasets.uploads import Uploads
from services.drift import rest as drift_rest
from services.drift.hub import Hub
from services.gateway import rest as gateway_rest
from services.gateway.models import Models
from services.gateway.service import Predictions
from services.gateway.status import Status
from services.gateway.upstream import Upstream
from services.inference.oip.shared_memory import Regions
from services.inference.rpc.control.operations import alone
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.rest import app as rpc_rest
from services.inference.rpc.rest.infer import protocol_for
from services.inference.rpc.service import DataPlane
from services.ingest import rest as ingest_rest
from services.ingest.app import schemas
from services.ingest.service import Ingest
from services.labelling import rest as labelling_rest
from services.monitor import rest as monitor_rest
from services.rules import rest as rules_rest
from services.trainer.ondemand import metrics as train_metrics
from services.trainer.ondemand import rest as train_rest
from services.trainer.ondemand.further import KINDS, Further, Kind
from services.trainer.ondemand.records import TrainingRecord
from services.trainer.ondemand.settings import TrainSettings
from services.trainer.ondemand.submission import Submission as TrainSubmission
from tests.datasets_kit import Sets
from tests.labelling_kit import World
from tests.labelling_kit import served as labelling_served
from tests.patience import WAIT_S, eventually
from tests.unit.gateway.test_gateway_feed import World as Sink
from tests.unit.ingest.test_ingest_service import MemoryLog
from tests.unit.rules.world_kit import Stage

TRIPS = Path(__file__).parents[2] / "integration" / "rpc" / "trips"
KNOWN_ALERT = "trips/worker_failed/w1"
NAMES = (
    "ingest", "rpc", "gateway", "batch", "train", "datasets", "labelling", "monitor", "rules", "drift", "archive",
)  # fmt: skip
RULES_RUN = run_id("p", "r", "call/known")
"""A run of the rules' service, which waits for a call-back."""


class Failing:
    """A job's process that ends at once without a result: what jobs do is not REST's."""

    async def run(self, _: Callable[[Mapping[str, Any]], None]) -> int:
        return 2

    def stop(self) -> None:
        """It has ended."""


@dataclass
class Served:
    """Where each service answers, and what its OpenAPI document says."""

    urls: dict[str, str]
    _documents: dict[str, str] = field(default_factory=dict)

    def document(self, name: str) -> dict[str, Any]:
        if name not in self._documents:
            self._documents[name] = httpx.get(f"{self.urls[name]}/openapi.json", timeout=WAIT_S).text
        found: dict[str, Any] = json.loads(self._documents[name])
        return found

    def upload(self, name: str) -> str:
        """An upload of this service; "" where there are none."""
        if name != "datasets":
            return ""
        body = {"filename": "a.csv", "size": 10}
        return str(httpx.post(f"{self.urls[name]}/v1/uploads", json=body, timeout=WAIT_S).json()["id"])

    def job(self, name: str) -> str:
        """A job of this service that has failed; "" where there are no jobs."""
        sent: dict[str, Any] = {
            "train": {"data": "source"},
            "batch": {"inputs": ["trips.jsonl"]},
            "datasets": {"from": {"topic": "t"}},
        }.get(name, {})
        if not sent:
            return ""
        path = {"train": train_rest.JOBS, "batch": batch_rest.JOBS, "datasets": "/v1/datasets/trips/versions"}[name]
        answer = httpx.post(self.urls[name] + path, json=sent, timeout=WAIT_S)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


@asynccontextmanager
async def _web(app: Any, protocol: Any = None) -> Any:
    server = WebServer(app, "127.0.0.1", 0, grace_s=1.0, protocol=protocol, edge=None)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server._server.started)
    try:
        yield server.url
    finally:
        server.stop()
        await serving


@asynccontextmanager
async def _services(folder: Path) -> Any:
    pipeline = load_pipeline(TRIPS)
    torch.manual_seed(7)
    urls: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        serve = lambda app, protocol=None: stack.enter_async_context(_web(app, protocol))  # noqa: E731
        ingest = Ingest(schemas(pipeline), MemoryLog(), max_in_flight=1000, max_record_bytes=1 << 16)
        urls["ingest"] = await serve(ingest_rest.create_app(ingest, max_request_bytes=1 << 16))

        weights = StaticWeights(pipeline.model.network().eval(), model=pipeline.name)
        plane = DataPlane(pipeline.name, pipeline.model, weights, max_batch=64)
        models = Registry([plane], Regions(4))
        stack.callback(plane.close)
        urls["rpc"] = await serve(rpc_rest.create_app(models, alone(models)), protocol_for(models))

        snapshot = msgspec.json.encode(Snapshot(pipeline.name, 1, 1))
        urls["monitor"] = await serve(monitor_rest.create_app(lambda: snapshot))
        hub = Hub(ServiceSettings(), [pipeline.name], write=lambda *_: None)
        hub._states.apply(Alert(id=KNOWN_ALERT, model=pipeline.name, name="worker_failed", firing=True))
        urls["drift"] = await serve(drift_rest.create_app(lambda: b"{}", hub, Policy(), _reset))

        urls["archive"] = await serve(_archive(folder / "kept"))

        client = await stack.enter_async_context(httpx.AsyncClient(timeout=WAIT_S))
        sink = Sink(max_subscribers=10_000)
        stack.push_async_callback(sink.feed.close)
        gateway = gateway_rest.Gateway(
            Models(pipeline.spec),
            Predictions(pipeline.name, Upstream("rpc", lambda: [urls["rpc"]], WAIT_S, client)),
            Upstream("ingest", lambda: [urls["ingest"]], WAIT_S, client),
            {"predictions": sink.feed},
            Status(pipeline.name, list, lambda: [urls["monitor"]], client),
            max_request_bytes=1 << 16,
        )
        urls["gateway"] = await serve(gateway_rest.create_app(gateway))
        for name, app, jobs in (_batch(folder), _train(folder), _datasets(folder)):
            stack.push_async_callback(jobs.close)
            jobs.open()
            urls[name] = await serve(app)
        world = World(pipeline)
        world.now, world.loop._clock = time.time(), time.time
        labelling, followers = stack.enter_context(labelling_served(world))
        followers.start()
        urls["labelling"] = await serve(labelling_rest.create_app(labelling, followers, max_request_bytes=1 << 20))
        for number in range(20):
            world.come(world.predicted(number, 12.0, {"trip_id": f"k{number}", "zone": 3}))
        rules = Stage({"webhook": {"url": "http://nobody", "wait": True}}, at_most=100).role()
        stack.push_async_callback(rules.close)
        await rules.trigger("r", "known", "", {})
        urls["rules"] = await serve(rules_rest.create_app(rules, lambda key: f"token of {key}"))
        yield urls


def _reset(columns: Sequence[str] | None) -> "Future[list[str]]":
    """As if the column `load` were watched alone."""
    done: Future[list[str]] = Future()
    done.set_result([name for name in ("load",) if columns is None or name in columns])
    return done


def _archive(root: Path) -> Any:
    """Without a record, and queries in this process."""
    root.mkdir()
    (root / FILE).write_bytes(msgspec.json.encode(load_fields(TRIPS)))
    most = QueryRequest(str(root), "trips", rows=100, seconds=1.0, memory_mb=64)
    return archive_rest.create_app(Answerer(root, "trips", most, running=100, run=answer))


def _batch(folder: Path) -> tuple[str, Any, Jobs[Any]]:
    inputs = folder / "in"
    inputs.mkdir()
    (inputs / "trips.jsonl").write_text(json.dumps({"trip_id": "a"}) + "\n")
    settings = BatchSettings(pipeline=TRIPS, input_dir=inputs, storage_dir=folder, max_upload_bytes=1 << 16)
    kept = Folder(folder / "batch", BatchRecord)
    jobs = Jobs(kept, lambda _: Failing(), batch_metrics.METRICS, max_running=1, max_waiting=100, keep=10)  # type: ignore[arg-type,return-value]
    return "batch", batch_rest.create_app(jobs, BatchSubmission(settings, TRIPS, kept)), jobs


def _train(folder: Path) -> tuple[str, Any, Jobs[Any]]:
    settings = TrainSettings(pipeline=TRIPS, input_dir=folder / "in", storage_dir=folder)
    kept = Folder(folder / "training", TrainingRecord)
    jobs = Jobs(kept, lambda _: Failing(), train_metrics.METRICS, max_running=1, max_waiting=100, keep=10)  # type: ignore[arg-type,return-value]
    submission = TrainSubmission(settings, TRIPS, kept)
    further = [_further(folder, kind, submission, jobs) for kind in KINDS]
    return "train", train_rest.create_app(jobs, submission, further), jobs


def _further(folder: Path, kind: Kind, submission: TrainSubmission, trained: Jobs[Any]) -> Further:
    kept = Folder(folder / kind.name, kind.record)
    observer = train_metrics.FURTHER_METRICS[kind.name]
    jobs = Jobs(kept, lambda _: Failing(), observer, max_running=1, max_waiting=100, keep=10)  # type: ignore[arg-type,return-value]
    return Further(kind, jobs, kind.submission(submission, trained, kept))


def _datasets(folder: Path) -> tuple[str, Any, Jobs[Any]]:
    """With one set, `trips`; versions are removed without asking Kafka who needs them."""
    settings = DatasetsSettings(pipeline=TRIPS, input_dir=folder / "in", storage_dir=folder, run_dir=folder)
    sets = Sets(folder, FolderStore(folder / "datasets"))
    sets.csv("trips", "id,v\na,1\n")
    kept = Folder(folder / "imports", ImportRecord)
    jobs = Jobs(kept, lambda _: Failing(), datasets_metrics.METRICS, max_running=1, max_waiting=100, keep=10)  # type: ignore[arg-type,return-value]
    submission = DatasetsSubmission(settings, kept, Uploads(folder / "uploads", most_bytes=1 << 16, most=1000))

    def remove(access: Access, manifest: Manifest) -> None:
        access.catalogue.remove(manifest, access.announcer, needed_by="it is the only one")

    return "datasets", datasets_rest.create_app(settings, sets.access, jobs, submission, remove=remove), jobs


@contextmanager
def rest_services(folder: Path) -> Iterator[Served]:
    """All of them, in one event loop in a thread of its own."""
    over: Any = None
    ready, found = threading.Event(), Served({})
    failed: list[BaseException] = []

    async def run() -> None:
        nonlocal over
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        async with _services(folder) as urls:
            found.urls = urls
            found_loop.append(loop)
            ready.set()
            await over.wait()

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)
            ready.set()

    found_loop: list[asyncio.AbstractEventLoop] = []
    running = threading.Thread(target=thread, name="services")
    running.start()
    assert ready.wait(WAIT_S)
    try:
        if not failed:
            yield found
    finally:
        if found_loop and running.is_alive():
            found_loop[0].call_soon_threadsafe(over.set)
        running.join(WAIT_S)
        assert not failed, failed
