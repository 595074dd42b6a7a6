"""Warming up a network before it serves.

On batches of the sizes that were served, at first on the pipeline's samples.
"""

import threading
from collections.abc import Sequence
from typing import Any

import torch

from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import WeightsError
from headrace.runtime.logging import get_logger

log = get_logger("headrace.inference")

_SAMPLES = 64
_KEPT = 4


class WarmUpBatches:
    """Remembers features that were served, one batch for each power of two of rows, and runs new networks on them.

    Safe to use from several threads.

    Attributes:
        samples: typical events of the pipeline's source; empty where it has no source.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._lock = threading.Lock()
        self._batches: dict[int, torch.Tensor] = {}
        self._max_batch = pipeline.spec.stream.max_batch
        self.samples: Sequence[Any] = ()
        if pipeline.spec.source is not None:
            self._begin(pipeline)

    def _begin(self, pipeline: Pipeline) -> None:
        events = pipeline.source().sample(_SAMPLES)
        try:
            with torch.inference_mode():
                self.remember(pipeline.model.features(events))
            self.samples = events
        except Exception as error:
            if pipeline.variant is None:
                raise
            log.warning("no samples to warm up on", model=pipeline.model_name, error=f"{type(error).__name__}: {error}")

    def remember(self, features: torch.Tensor) -> None:
        """Remember the features of a batch that was served.

        Cheap: only the first batch of each size is copied, and only the largest sizes are kept.
        """
        features = features[: self._max_batch]
        size = len(features).bit_length()
        if size in self._batches or not len(features):
            return
        with self._lock:
            self._batches[size] = features.detach().clone()
            for smallest in sorted(self._batches)[:-_KEPT]:
                del self._batches[smallest]

    def __call__(self, network: torch.nn.Module) -> None:
        """Run the network on the remembered batches; a version on which this raises does not serve.

        Raises:
            WeightsError: every output of a batch is NaN or infinite, which finite weights can do too.
        """
        with self._lock:
            batches = list(self._batches.values())
        for features in batches:
            outputs = network(features)
            if outputs.is_floating_point() and not bool(torch.isfinite(outputs).any()):
                raise WeightsError(
                    f"all {len(outputs)} outputs of the warm-up are NaN or infinite", hint="this version cannot serve"
                )
