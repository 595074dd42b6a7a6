"""The role `drift`, composed: one thread reads and compares, one follows alerts, one delivers to each webhook."""

import asyncio
import os
import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import msgspec

from headrace.alerts.webhooks import Webhook
from headrace.contracts import topics
from headrace.drift.reference import ColumnReference
from headrace.drift.reference_file import read_reference
from headrace.drift.schema import Reader
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.model.spec import SHADOW
from headrace.model.watching_spec import WebhookSpec, severity_name
from headrace.runtime import kafka, secrets
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.logging import get_logger
from headrace.runtime.web import WebServer
from services.drift import metrics, state
from services.drift.flow import FlowLimits
from services.drift.hooks import Delivery
from services.drift.hub import Hub
from services.drift.kafka import Feed, Ledger
from services.drift.loop import Loop, Resets
from services.drift.rest import create_app
from services.drift.scores import Scores
from services.drift.service import Watch, Watched
from services.drift.settings import DriftSettings
from services.drift.snapshot import snapshot

log = get_logger("headrace.drift.app")


class DriftApp:
    """The role `drift`."""

    def __init__(self, context: Context[DriftSettings], pipeline: Pipeline, hooks: Sequence[Webhook]) -> None:
        self._context, self._settings, self._pipeline = context, context.settings, pipeline
        self._watched = watched(pipeline, self._settings)
        models = frozenset(self._watched.models + _shadows(pipeline))
        self._hub = Hub(self._settings, models)
        self._deliveries = [
            Delivery(self._settings, hook, pipeline=pipeline.name, models=models, hub=self._hub) for hook in hooks
        ]
        self._latest = b""
        self._resets: Resets = queue.SimpleQueue()
        app = create_app(lambda: self._latest, self._hub, self._watched.policy, self._reset)
        self._rest = WebServer(app, self._settings.host, self._settings.rest_port, edge=context.edge)
        self._exporter = metrics.Exporter(pipeline.name)
        context.ready.declare("topics")

    async def run(self, stop: Stop) -> None:
        """Read topics and answer requests until `stop` is set."""
        self._context.publish_endpoint("rest", self._rest.url)
        serving = asyncio.create_task(self._rest.serve())
        try:
            await asyncio.to_thread(self._open)
            threads = [partial(self._watch, stop), partial(self._hub.follow, stop)]
            threads += [partial(delivery.run, stop) for delivery in self._deliveries]
            await _threads(threads, stop)
        finally:
            self._rest.stop()
            await serving

    def _open(self) -> None:
        """Wait for the broker, create the topics that are missing, read what is on."""
        kafka.ensure_topics(self._settings, [topics.ALERTS.topic(), topics.SILENCES.topic(), topics.DRIFT.topic()])
        self._hub.open()
        for delivery in self._deliveries:
            delivery.open()

    def _watch(self, stop: Stop) -> None:
        feed, ledger = Feed(self._settings, self._pipeline), Ledger(self._settings, self._pipeline.name)
        try:
            watch = Watch(self._watched)
            feed.open(stop, self._restore(watch, ledger))
            self._context.ready.set("topics", True, f"reading {self._pipeline.name}")  # noqa: FBT003
            Loop(self._settings, watch, feed, ledger, resets=self._resets, show=self._show).run(stop)
        finally:
            feed.close()
            ledger.close()

    def _restore(self, watch: Watch, ledger: Ledger) -> Mapping[tuple[str, int], int]:
        """Go on from the state before; without one begin anew, and end the alerts that nobody watches any more."""
        found = ledger.read()
        offsets: dict[tuple[str, int], int] = {}
        if found is not None:
            try:
                state.restore(watch, found.state)
                offsets = {(o.topic, o.partition): o.offset for o in found.offsets}
            except ValueError as error:
                log.warning("the state cannot be read; beginning anew", error=str(error))
        watch.reconcile(self._hub.own("drift") if not offsets else ())
        return offsets

    def _show(self, watch: Watch, now: float, lag: int) -> None:
        shown = snapshot(watch, now)
        shown["lag"] = lag
        self._exporter.export(shown, self._hub.alerts(), lag)
        self._latest = msgspec.json.encode(shown)

    def _reset(self, columns: Sequence[str] | None) -> "Future[list[str]]":
        done: Future[list[str]] = Future()
        self._resets.put((columns, done))
        return done


async def _threads(work: "Sequence[partial[None]]", stop: Stop) -> None:
    """Run each in a thread; the first that ends or fails stops the others, which are waited for."""
    running = [asyncio.create_task(asyncio.to_thread(one)) for one in work]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        stop.set("a part has ended")
        await asyncio.gather(*running, return_exceptions=True)


def watched(pipeline: Pipeline, settings: DriftSettings) -> Watched:
    """What is watched of a pipeline.

    Raises:
        ConfigError: its reference file cannot be read.
    """
    spec, model = pipeline.spec, pipeline.model
    drift = spec.drift
    served = tuple(
        other.model_name for other in pipeline.others if other.variant is not None and other.variant.role != SHADOW
    )
    return Watched(
        pipeline=pipeline.name,
        models=(pipeline.name, *served),
        reader=Reader(model.event_type(), (model.key, *drift.ignore), drift.categories),
        scores=Scores(spec.task, model.classes, model.prediction_type()),
        judge=model.judge,
        decode_label=pipeline.label_decoder.decode,
        limits=drift.limits,
        flow=FlowLimits(drift.interval_s, drift.volume, drift.latency, drift.latency_floor_s),
        score=drift.score,
        error_ratio=drift.error_ratio,
        error_examples=drift.error_examples,
        labels_per_s=drift.labels_per_s,
        wait_s=spec.join.window_s,
        max_waiting=settings.max_waiting,
        policy=spec.alerts.policy,
        references=_references(pipeline),
        error_unit=model.error_unit,
    )


def _shadows(pipeline: Pipeline) -> tuple[str, ...]:
    """Models whose alerts are shown, but whose predictions answer nothing and are not compared."""
    return tuple(o.model_name for o in pipeline.others if o.variant is not None and o.variant.role == SHADOW)


def _references(pipeline: Pipeline) -> Mapping[str, ColumnReference]:
    name = pipeline.spec.drift.reference.file
    return {} if name is None else read_reference(Path(pipeline.folder) / name)


def webhook(spec: WebhookSpec, environ: Mapping[str, str]) -> Webhook:
    """A webhook, its secrets taken from the environment.

    Raises:
        ConfigError: a variable that it names is not set.
    """
    values = {"url": spec.url, "secret": ""}
    for what, variable in (("url", spec.url_env), ("secret", spec.secret_env)):
        if not variable:
            continue
        if not environ.get(variable):
            raise ConfigError(f"webhook {spec.name}: {variable} is not set", hint=f"it holds the webhook's {what}")
        values[what] = environ[variable]
        secrets.KNOWN.learn([values[what]])
    if not values["url"].startswith(("http://", "https://")):
        raise ConfigError(f"webhook {spec.name}: its url does not begin with http:// or https://")
    return Webhook(
        spec.name, values["url"], values["secret"], severity_name(spec.severity), spec.timeout_s, spec.retry_s
    )


def build(context: Context[DriftSettings]) -> DriftApp:
    """Make the role from its settings.

    Raises:
        ConfigError: no pipeline was named, it cannot be loaded, or a webhook's variable is not set.
    """
    folder = context.settings.pipeline
    if folder is None:
        raise ConfigError("drift: no pipeline", hint="--pipeline FOLDER")
    pipeline = load_pipeline(folder)
    hooks = [webhook(spec, os.environ) for spec in pipeline.spec.alerts.webhooks]
    return DriftApp(context, pipeline, hooks)
