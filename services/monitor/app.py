"""The role `monitor`, composed: one thread reads the topics and scores, the event loop answers REST requests."""

import asyncio
import time

import msgspec

from headrace.evaluation.scores import Spans
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.web import WebServer
from services.monitor import metrics
from services.monitor.kafka import Announcer, Feed
from services.monitor.models import WatchedModel
from services.monitor.rest import create_app
from services.monitor.service import Monitor, Watched
from services.monitor.settings import MonitorSettings


class MonitorApp:
    """The role `monitor`."""

    def __init__(self, context: Context[MonitorSettings], pipeline: Pipeline) -> None:
        self._context, self._settings, self._pipeline = context, context.settings, pipeline
        self._latest = b""
        self._rest = WebServer(
            create_app(lambda: self._latest), self._settings.host, self._settings.rest_port, edge=context.edge
        )
        self._exporter = metrics.Exporter()
        context.ready.declare("topics")

    async def run(self, stop: Stop) -> None:
        """Read topics and answer requests until `stop` is set."""
        self._context.publish_endpoint("rest", self._rest.url)
        serving = asyncio.create_task(self._rest.serve())
        try:
            await asyncio.to_thread(self._watch, stop)
        finally:
            self._rest.stop()
            await serving

    def _watch(self, stop: Stop) -> None:
        feed, announcer = Feed(self._settings, self._pipeline), Announcer(self._settings)
        try:
            observer = metrics.Durations(self._pipeline.name)
            monitor = Monitor(self._watched(), started=time.time(), lanes=feed.open(stop), observer=observer)
            self._context.ready.set("topics", True, f"reading {self._pipeline.name}")  # noqa: FBT003
            self._loop(feed, announcer, monitor, stop)
        finally:
            feed.close()
            announcer.close()

    def _loop(self, feed: Feed, announcer: Announcer, monitor: Monitor, stop: Stop) -> None:
        next_tick = next_lag = 0.0
        while not stop.is_set():
            feed.read(monitor)
            monitor.settle()
            now = time.time()
            if now >= next_lag:
                next_lag = now + self._settings.lag_s
                monitor.lag = feed.lag(monitor.checkpoint_offsets)
            if now >= next_tick:
                next_tick = now + self._settings.tick_s
                for alert in monitor.tick(now):
                    announcer.send(alert)
                announcer.poll()
                snapshot = monitor.snapshot(now)
                self._exporter.export(snapshot)
                self._latest = msgspec.json.encode(snapshot)

    def _watched(self) -> Watched:
        spec, model = self._pipeline.spec, self._pipeline.model
        return Watched(
            pipeline=self._pipeline.name,
            judge=model.judge,
            baselines=model.baselines(),
            spans=Spans(spec.monitor.window, spec.monitor.window_s, spec.monitor.half_life),
            error_unit=model.error_unit,
            sample=spec.monitor.sample,
            wait_s=spec.join.window_s,
            limit=self._settings.max_waiting,
            worse_beside=spec.monitor.worse_beside,
            worse_before=spec.monitor.worse_before,
            policy=spec.alerts.policy,
            others=tuple(
                WatchedModel(other.model_name, other.variant.role, other.variant.share)
                for other in self._pipeline.others
                if other.variant is not None
            ),
        )


def build(context: Context[MonitorSettings]) -> MonitorApp:
    """Make the role from its settings.

    Raises:
        ConfigError: no pipeline was named, or it cannot be loaded.
    """
    folder = context.settings.pipeline
    if folder is None:
        raise ConfigError("monitor: no pipeline", hint="--pipeline FOLDER")
    return MonitorApp(context, load_pipeline(folder))
