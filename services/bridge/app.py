"""The bridge's composition: follows the fleet's version without an agent, and publishes it to Triton, one at a time."""

import asyncio
import threading

import torch

from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime.errors import ConfigError, DependencyError, HeadraceError
from headrace.runtime.lifecycle import Context, Stop
from headrace.weights import Bound, FollowedWeights
from services.bridge import metrics
from services.bridge.publication import Publisher, Wrong
from services.bridge.repository import Repository
from services.bridge.settings import TritonBridgeSettings
from services.bridge.triton import Triton

LONGEST_RETRY_S = 60.0


class TritonBridgeApp:
    """The role `triton-bridge`.

    While a version is being loaded newer ones may come: only the newest is published next.
    """

    def __init__(self, context: Context[TritonBridgeSettings], pipeline: Pipeline) -> None:
        settings = context.settings
        if settings.repository is None:
            raise ConfigError("repository is not set", hint="--repository FOLDER, Triton's --model-repository")
        self._settings, self._ready, self._log, self._model = settings, context.ready, context.log, pipeline.name
        self._ready.declare("triton")
        self._changed = threading.Event()
        self._weights = FollowedWeights(
            settings, pipeline.name, pipeline.model.network, on_change=lambda _: self._changed.set()
        )
        self._triton = Triton(settings.triton, settings.triton_timeout_s)
        self._repository = Repository(settings.repository, pipeline.name)
        self._publisher = Publisher(
            self._repository, self._triton, _samples(pipeline, min(settings.rows, settings.max_batch)),
            max_batch=settings.max_batch, tolerance=settings.tolerance, keep=settings.keep_versions,
        )  # fmt: skip
        self._served: Bound | None = None

    async def run(self, stop: Stop) -> None:
        """Publish until stopped. A version that Triton takes long to load is left to it: the next start verifies it."""
        try:
            self._repository.open()
        except OSError as error:
            raise ConfigError(
                f"repository {self._repository.folder}: {error.strerror}", hint="--repository FOLDER"
            ) from error
        self._weights.start()
        work = asyncio.ensure_future(asyncio.to_thread(self._follow, stop))
        stopped = asyncio.ensure_future(stop.waited())
        try:
            await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.set("the bridge ends")
            self._changed.set()
            await asyncio.wait([work], timeout=self._settings.shutdown_timeout_s / 2)
            self._triton.close()
            await asyncio.to_thread(self._weights.stop)
            await asyncio.gather(work, stopped)

    def _follow(self, stop: Stop) -> None:
        while not stop.is_set() and not self._weights.wait_ready(0.1):
            pass
        retry_s = self._settings.retry_s
        while True:
            self._changed.clear()  # before anything is looked at, so that nothing is missed
            if stop.is_set():
                return
            with self._weights.lease() as bound:
                done = self._step(bound)
            newer = self._changed.wait(self._settings.check_s if done else retry_s)
            retry_s = self._settings.retry_s if done or newer else min(LONGEST_RETRY_S, retry_s * 2)

    def _step(self, bound: Bound) -> bool:
        """Publish the version unless Triton serves it already; whether it does now."""
        try:
            if self._served is bound and self._triton.serves(self._model, bound.version, bound.checkpoint):
                return True
            metrics.DEVIATION.labels(self._model).set(self._publisher.publish(bound))
        except (HeadraceError, OSError) as error:
            away = isinstance(error, (DependencyError, OSError))  # Triton, or the repository's disk
            outcome = "unreachable" if away else "wrong" if isinstance(error, Wrong) else "refused"
            metrics.PUBLISHED.labels(self._model, outcome).inc()
            self._log.warning(
                "not published", model=self._model, version=bound.version, outcome=outcome, error=str(error)
            )
            self._served = None if away else self._served
            self._ready.set("triton", self._served is not None, str(error))
            return False
        self._served = bound
        metrics.VERSION.labels(self._model).set(bound.version)
        metrics.PUBLISHED.labels(self._model, "verified").inc()
        self._ready.set("triton", True, f"version {bound.version}")  # noqa: FBT003 - the value is the point
        return True


def _samples(pipeline: Pipeline, rows: int) -> torch.Tensor:
    """Features of the pipeline's sample events.

    The shape of Triton's input, and the question that verifies a version.
    """
    if pipeline.spec.source is None:
        raise ConfigError(
            f"{pipeline.folder}: pipeline.yaml names no source, whose samples the bridge asks Triton about",
            hint="source: source.py:MySource, with a `sample` method",
        )
    with torch.inference_mode():
        features = pipeline.model.features(pipeline.source().sample(max(2, rows)))
    return features.contiguous().clone()


def build(context: Context[TritonBridgeSettings]) -> TritonBridgeApp:
    """The role's app.

    Raises:
        ConfigError: the pipeline's folder or the repository is not named, or wrong.
    """
    if context.settings.pipeline is None:
        raise ConfigError("pipeline is not set", hint="--pipeline FOLDER")
    return TritonBridgeApp(context, load_pipeline(context.settings.pipeline))
