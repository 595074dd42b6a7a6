"""The role `archive`, composed.

One thread reads Kafka and writes segments, one merges, folds and removes, one takes samples; the event loop answers
REST requests.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from headrace.archive.fields.pipeline import fields_of
from headrace.archive.folder import root_of
from headrace.archive.queries.request import QueryRequest
from headrace.archive.segments.merging import Plan
from headrace.archive.segments.writing import Lock, Step, ignore, sweep
from headrace.archive.series.samples import MetricsTable
from headrace.archive.tables import RecordTable, name_of, pipeline_tables
from headrace.contracts import topics
from headrace.model.spec import PipelineSpec
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import ConfigError, DependencyError, HeadraceError, PipelineError
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.logging import get_logger
from headrace.runtime.scheduling import lower_priority
from headrace.runtime.web import WebServer
from services.archive import metrics
from services.archive.counting import Counter, release
from services.archive.kafka import Feed, Sender, ensure_metrics_topic
from services.archive.queries import Answerer
from services.archive.rest import create_app
from services.archive.sampling import Sampler, targets_of
from services.archive.service import Archive, Limits
from services.archive.settings import ArchiveSettings
from services.archive.tidying import Keeping, Tidying

log = get_logger("headrace.archive")
_NICE = 5
"""Keeping records may wait for the roles that answer."""


class ArchiveApp:
    """The role `archive`. `step` is told of each durable step."""

    def __init__(
        self, context: Context[ArchiveSettings], folder: Path, spec: PipelineSpec, step: Step = ignore
    ) -> None:
        self._context, self._settings, self._folder, self._spec = context, context.settings, folder, spec
        self._root, self._step = root_of(self._settings.storage_folder, spec.name), step
        settings = self._settings
        most = QueryRequest(
            str(self._root), spec.name, "", "json",
            settings.query_rows, settings.query_timeout_s, settings.query_memory_mb,
        )  # fmt: skip
        app = create_app(Answerer(self._root, spec.name, most, running=settings.queries))
        self._rest = WebServer(app, settings.host, settings.rest_port, edge=context.edge)
        context.ready.declare("topics")

    async def run(self, stop: Stop) -> None:
        """Keep records and answer requests until `stop` is set."""
        self._context.publish_endpoint("rest", self._rest.url)
        serving = asyncio.create_task(self._rest.serve())
        try:
            lock = await asyncio.to_thread(self._lock, stop)
            try:
                await self._work(stop)
            finally:
                lock.release()
        finally:
            self._rest.stop()
            await serving

    async def _work(self, stop: Stop) -> None:
        sweep(self._root)
        tables = await asyncio.to_thread(self._tables, stop)
        if tables is None:
            return
        await asyncio.to_thread(ensure_metrics_topic, self._settings, stop)
        work = [self._keep(tables, stop), self._tidy(tables, stop)]
        work += [self._sample(stop)] if self._settings.scrape_s else []
        threads = [asyncio.create_task(asyncio.to_thread(self._until_stopped, one, stop)) for one in work]
        for ended in await asyncio.gather(*threads, return_exceptions=True):  # all have ended before others may write
            if ended is not None:
                raise ended

    def _until_stopped(self, work: Callable[[], None], stop: Stop) -> None:
        """Run work in this thread; when it fails the others stop too."""
        try:
            work()
        except BaseException as error:
            stop.set(f"{type(error).__name__}")
            if isinstance(error, OSError) and not isinstance(error, HeadraceError):
                raise DependencyError(f"{self._root}: {error}", hint="is the storage full, or away?") from error
            raise

    def _lock(self, stop: Stop) -> Lock:
        deadline = time.monotonic() + self._settings.startup_timeout_s
        while True:
            try:
                return Lock(self._root)
            except DependencyError:
                if stop.is_set() or time.monotonic() > deadline:
                    raise
                stop.wait(0.2)

    def _tables(self, stop: Stop) -> list[RecordTable] | None:
        """The tables of the pipeline; None if this process is to stop before its fields are known."""
        try:
            fields = fields_of(self._root, self._folder, stop.is_set)
        except PipelineError:
            if stop.is_set():
                return None
            raise
        found = pipeline_tables(self._spec.name, fields)
        return [one for one in found if self._spec.has_shadows or one.name != name_of(topics.SHADOWS)]

    def _keep(self, tables: list[RecordTable], stop: Stop) -> Callable[[], None]:
        settings = self._settings
        limits = Limits(settings.flush_s, settings.flush_rows, settings.flush_bytes, settings.buffer_bytes)

        def work() -> None:
            feed = Feed(settings, self._spec.name)
            try:
                lanes = feed.open(self._root, [*tables, MetricsTable(self._spec.name)], stop)
                archive = Archive(lanes, limits, commit=feed.commit, observer=Counter(), step=self._step)
                lower_priority(_NICE)
                self._context.ready.set("topics", True, f"keeping {self._spec.name}")  # noqa: FBT003
                self._loop(feed, archive, stop)
            finally:
                feed.close()

        return work

    def _loop(self, feed: Feed, archive: Archive, stop: Stop) -> None:
        while not stop.is_set():
            feed.read(archive)
            metrics.WAITING.set(archive.bytes)
            archive.keep_due(time.monotonic())
        archive.keep_all()

    def _tidy(self, tables: list[RecordTable], stop: Stop) -> Callable[[], None]:
        settings = self._settings
        keeping = Keeping(
            settings.keep_days, settings.keep_bytes, settings.keep_samples_days, settings.keep_minutes_days,
            settings.keep_hours_days, settings.grace_s,
        )  # fmt: skip
        tidying = Tidying(self._root, tables, Plan(settings.segment_bytes, settings.merge), keeping, self._step)

        def work() -> None:
            lower_priority(_NICE * 2)
            while not stop.wait(settings.tidy_s):
                tidying.round(time.time())
                release()

        return work

    def _sample(self, stop: Stop) -> Callable[[], None]:
        settings = self._settings

        def work() -> None:
            sender = Sender(settings)
            sampler = Sampler(
                self._spec.name, lambda: targets_of(settings.run_folder, settings.scrape_urls), sender,
                most=settings.max_series,
            )  # fmt: skip
            try:
                while not stop.wait(_until_next(settings.scrape_s)):
                    sampler.round()
            finally:
                sender.close()

        return work


def _until_next(every_s: float) -> float:
    """Seconds to the next round: rounds are at multiples of `every_s`."""
    return every_s - time.time() % every_s


def build(context: Context[ArchiveSettings], step: Step = ignore) -> ArchiveApp:
    """Make the role from its settings. `step` is told of each durable step.

    Raises:
        ConfigError: no pipeline was named, or its pipeline.yaml cannot be read.
    """
    folder = context.settings.pipeline
    if folder is None:
        raise ConfigError("archive: no pipeline", hint="--pipeline FOLDER")
    return ArchiveApp(context, folder, load_spec(folder), step)
