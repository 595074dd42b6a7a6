"""Publishing one version to Triton: the order of its steps, and what stays when one of them fails.

Knows no Triton client.
"""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
import torch

from headrace.runtime.errors import DependencyError
from headrace.runtime.logging import get_logger
from headrace.weights import Bound, WeightsError
from services.bridge import metrics
from services.bridge.repository import Repository
from services.bridge.version_files import config, served_version, version_files

log = get_logger("headrace.bridge")

T = TypeVar("T")


class Refused(WeightsError):  # noqa: N818 - reads as the sentence it is
    """Triton did not load a version."""


class Wrong(Refused):
    """What Triton loaded is not the version, or does not answer as it."""


class ModelServer(Protocol):
    """What is asked of Triton.

    Each call raises `DependencyError` where it does not answer, `Refused` where it says no.
    """

    def load(self, model: str) -> None:
        """Load or reload a model from the repository; returns when its versions are served."""
        ...

    def unload(self, model: str) -> None:
        """Take a model out of service."""
        ...

    def serves(self, model: str, version: int, checkpoint: str) -> bool:
        """Whether this version is ready, loaded from this checkpoint's configuration."""
        ...

    def infer(self, model: str, version: int, features: np.ndarray) -> np.ndarray:
        """The version's answer."""
        ...


class Publisher:
    """Publishes versions of one model, and verifies each by its answer.

    Args:
        repository: where Triton finds models.
        server: Triton.
        features: sample rows, at least two, whose answers are compared.
        max_batch: rows of a request at most.
        tolerance: greatest difference of answers, relative to the largest absolute one (or to 1).
        keep: versions kept in the repository.
    """

    def __init__(
        self,
        repository: Repository,
        server: ModelServer,
        features: torch.Tensor,
        *,
        max_batch: int = 1024,
        tolerance: float = 1e-5,
        keep: int = 2,
    ) -> None:
        self._repository = repository
        self._server = server
        self._features = features
        self._max_batch = max_batch
        self._tolerance = tolerance
        self._keep = keep

    def publish(self, bound: Bound) -> float:
        """Have Triton serve a version, and return how far its answers are from the network's own.

        Raises:
            Refused: Triton did not load it, or answers wrongly; the version before is served again, if there was one.
            DependencyError: Triton does not answer.
            WeightsError: the network cannot be exported.
        """
        model, timed = bound.manifest.model, _Timed(bound.manifest.model)
        with torch.inference_mode():
            ours = bound.network(self._features)
        before = self._repository.config()
        # 1. The version's folder, whole. Dies the bridge after this, the next start finds it and goes on with 2.
        if self._repository.checkpoint(bound.version) != bound.checkpoint:
            files = timed("export", lambda: version_files(bound, self._features))
            timed("write", lambda: self._repository.put(bound.version, files))
        # 2. The configuration, which names it. Triton looks at neither until it is asked to.
        self._repository.configure(config(bound, self._features, ours, self._max_batch))
        try:
            # 3. Triton loads it beside the version before, which answers until this one is ready.
            timed("load", lambda: self._server.load(model))
            # 4. It is what it says, and answers as the network does here.
            deviation = timed("verify", lambda: self._deviation(bound, ours.numpy()))
        except Refused:
            self._restore(bound, before)
            raise
        # 5. Only now may older versions go.
        gone = self._repository.prune(self._keep, bound.version)
        log.info(
            "triton serves",
            model=model,
            version=bound.version,
            checkpoint=bound.checkpoint,
            deviation=deviation,
            pruned=gone,
            **timed.milliseconds,
        )
        return deviation

    def _deviation(self, bound: Bound, ours: np.ndarray) -> float:
        model, version = bound.manifest.model, bound.version
        if not self._server.serves(model, version, bound.checkpoint):
            raise Wrong(f"Triton loaded {model}, and does not serve version {version} of checkpoint {bound.checkpoint}")
        theirs = self._server.infer(model, version, self._features.numpy())
        if theirs.size != ours.size:
            raise Wrong(f"Triton's {model} version {version} answers {theirs.shape}, the network {ours.shape}")
        mine, other = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
        deviation = float(np.max(np.abs(mine - other)) / max(1.0, float(np.max(np.abs(mine)))))
        if not deviation <= self._tolerance:  # NaN is refused too
            raise Wrong(
                f"Triton's {model} version {version} answers differently by {deviation:.3g}, "
                f"allowed is {self._tolerance:.3g}",
                hint="tolerance, if Triton computes on other hardware",
            )
        return deviation

    def _restore(self, bound: Bound, before: str) -> None:
        """Go back to the configuration before: of the version that is, or was, served.

        Nothing else can be known of it.
        """
        model = bound.manifest.model
        back = (
            bool(before) and served_version(before) != bound.version
        )  # else a bridge that died tried this very version
        self._repository.configure(before if back else "")
        self._repository.remove(bound.version)
        try:
            if back:
                self._server.load(model)
            else:
                self._server.unload(model)
        except (Refused, DependencyError) as error:
            log.warning("triton could not go back to the version before", model=model, error=str(error))


class _Timed:
    """Times steps, for the log and the metrics."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.milliseconds: dict[str, float] = {}

    def __call__(self, step: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - started
        self.milliseconds[f"{step}_ms"] = round(seconds * 1000, 1)
        metrics.STEP.labels(self._model, step).observe(seconds)
        return result
