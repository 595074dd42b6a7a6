"""The role `labelling`, composed: one thread reads, decides and writes; the event loop answers REST requests."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError, DependencyError
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.web import WebServer
from services.labelling import metrics
from services.labelling.followers import Followers
from services.labelling.forms.labels import LabelForm
from services.labelling.kafka.events import EventReader
from services.labelling.kafka.inputs import Inputs
from services.labelling.kafka.state import StateLog
from services.labelling.loop import InputEnd, Loop, Observer, Parts, StateEnd
from services.labelling.queues.admission import Admission, Fetch
from services.labelling.queues.candidates import Candidates
from services.labelling.queues.queue import Queue
from services.labelling.queues.scores import Scorer
from services.labelling.rest import create_app
from services.labelling.service import Labelling
from services.labelling.settings import LabellingSettings
from services.labelling.studio.reading import Reader
from services.labelling.studio.writing import Writer
from services.labelling.work.desk import Desk, WorkRules
from services.labelling.work.shown import Shown
from services.labelling.work.store import Store


def store_of(pipeline: Pipeline, settings: LabellingSettings) -> Store:
    """An empty store for a pipeline's items."""
    return Store(
        pipeline.name,
        [queue.name for queue in pipeline.spec.label_queues],
        window_ms=round(pipeline.spec.join.window_s * 1000),
        keep=pipeline.spec.labelling.keep,
        max_bytes=settings.max_state_bytes,
    )


@dataclass(frozen=True)
class Ends:
    """Where the state is kept, what is read, how single events are read, and who is told."""

    state: StateEnd
    inputs: InputEnd
    fetch: Fetch
    observer: Observer


def loop_of(pipeline: Pipeline, settings: LabellingSettings, form: LabelForm, store: Store, ends: Ends) -> Loop:
    """The loop over a store whose content is loaded."""
    spec, model = pipeline.spec.labelling, pipeline.model
    corrected = pipeline.spec.join.labels.conflicting == "corrected"
    rules = WorkRules(
        round(spec.lease_s * 1000), round(spec.hold_s * 1000), spec.review, spec.blind, spec.skips, corrected
    )
    desk = Desk(store, form, rules)
    scorer = Scorer(model.task, model.classes)
    queues = [Queue(queue, scorer) for queue in pipeline.spec.label_queues]
    admission = Admission(store, queues, ends.fetch, max_event_bytes=settings.max_event_bytes)
    shown = Shown(desk, form, pipeline.spec.label_queues, admission.passed_over)
    parts = Parts(
        desk, shown, admission, Candidates(round(spec.after_s * 1000), store.window_ms), ends.state, ends.inputs
    )
    return Loop(parts, ends.observer, described(pipeline))


def described(pipeline: Pipeline) -> dict[str, Any]:
    """What stands beside the queues in their counts: the settings that people should know."""
    spec = pipeline.spec.labelling
    return {
        "pipeline": pipeline.name,
        "window_s": pipeline.spec.join.window_s,
        "lease_s": spec.lease_s,
        "hold_s": spec.hold_s,
        "review": spec.review,
        "blind": spec.blind,
        "correction": pipeline.spec.join.labels.conflicting,
    }


def labelling_of(pipeline: Pipeline, form: LabelForm) -> Labelling:
    """The answers of the role, which begin once it is given a loop."""
    reader = Reader(form, pipeline.name, pipeline.event_decoder)
    writer = Writer(form, pipeline.name, pipeline.model.task, pipeline.model.classes)
    return Labelling(form, reader, writer, {queue.name: queue.size for queue in pipeline.spec.label_queues})


class Watched:
    """Sets the metrics, and tells the followers. See `services.labelling.loop.Observer`."""

    def __init__(self, followers: Followers) -> None:
        self._followers = followers

    def round(self, loop: Loop, labels: int, admitted: int) -> None:
        """See `Observer`."""
        parts = loop.parts
        metrics.PUBLISHED.inc(labels)
        metrics.ADDED.inc(admitted)
        metrics.PENDING.set(len(parts.candidates))
        metrics.STATE.set(parts.desk.store.bytes)
        metrics.UNREADABLE.set(parts.inputs.unreadable)
        metrics.UNSCORED.set(parts.admission.unscored)
        metrics.LOST.set(parts.admission.lost)
        for name, queue in parts.admission.queues.items():
            metrics.OPEN.labels(name).set(parts.desk.store.tally.of(name, "open"))
            metrics.REVIEW.labels(name).set(parts.desk.store.tally.of(name, "review"))
            metrics.PASSED_OVER.labels(name).set(queue.passed_over)

    def counts(self, queues: bytes) -> None:
        """See `Observer`."""
        self._followers.tell(queues)


class LabellingApp:
    """The role `labelling`."""

    def __init__(self, context: Context[LabellingSettings], pipeline: Pipeline) -> None:
        self._context, self._settings, self._pipeline = context, context.settings, pipeline
        self._form = LabelForm(pipeline)
        self._labelling, self._followers = labelling_of(pipeline, self._form), Followers(context.settings.max_followers)
        limit = self._settings.max_request_bytes
        app = create_app(self._labelling, self._followers, max_request_bytes=limit)
        self._rest = WebServer(app, self._settings.host, self._settings.rest_port, edge=context.edge)
        context.ready.declare("state")

    async def run(self, stop: Stop) -> None:
        """Read topics, take what people decide and answer requests, until `stop` is set."""
        self._followers.start()
        serving = asyncio.create_task(self._rest.serve())
        self._context.publish_endpoint("rest", self._rest.url)
        try:
            await asyncio.to_thread(self._work, stop)
        finally:
            self._rest.stop()
            await serving

    def _work(self, stop: Stop) -> None:
        self._wait_for_topics(stop)
        settings, pipeline = self._settings, self._pipeline
        state = StateLog(settings, pipeline.name)
        inputs = Inputs(settings, pipeline, min(settings.history_s, pipeline.spec.join.window_s))
        events = EventReader(settings, pipeline.name)
        try:
            held = state.open()
            store = store_of(pipeline, settings)
            store.load(held.items, held.works, held.positions)
            inputs.open(held.positions)
            watched = Watched(self._followers)
            loop = loop_of(pipeline, settings, self._form, store, Ends(state, inputs, events.fetch, watched))
            self._labelling.start(loop)
            self._context.ready.set("state", True, f"{len(store.entries)} items")  # noqa: FBT003
            self._context.log.info("labelling", items=len(store.entries), queues=list(store.waiting))
            loop.run(stop.is_set)
        finally:
            for end in (events, inputs, state):
                end.close()

    def _wait_for_topics(self, stop: Stop) -> None:
        """Make the topics that are missing; wait for a broker that is not up yet."""
        deadline = time.monotonic() + self._settings.startup_timeout_s
        while True:
            try:
                kafka.ensure_topics(self._settings, self._pipeline.topics)
            except DependencyError:
                if stop.is_set() or time.monotonic() > deadline:
                    raise
                stop.wait(0.5)
            else:
                return


def build(context: Context[LabellingSettings]) -> LabellingApp:
    """Make the role from its settings.

    Raises:
        ConfigError: no pipeline was named, it cannot be loaded, or the port is taken.
    """
    folder = context.settings.pipeline
    if folder is None:
        raise ConfigError("labelling: no pipeline", hint="--pipeline FOLDER")
    return LabellingApp(context, load_pipeline(folder))
