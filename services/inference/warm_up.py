"""Warming up a network before it serves, on passes of the sizes that requests and rounds have.

That is in batches filled up as `headrace.model.exact_rows` fills them. At first they are the pipeline's samples: one
event alone, and all of them together.
"""

import threading
from collections.abc import Sequence
from typing import Any

import torch

from headrace.model.equal_rows import RowCheck
from headrace.model.exact_rows import forward, padded
from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import WeightsError
from headrace.runtime.logging import get_logger
from services.inference import metrics

log = get_logger("headrace.inference")

_SAMPLES = 64
_KEPT = 4


class WarmUpBatches:
    """Remembers features that were served, one batch for each power of two of rows, and runs new networks on them.

    Safe to use from several threads.

    Args:
        pipeline: of the model.
        most: rows that are computed at once at most; by default the stream's `max_batch`.

    Attributes:
        samples: typical events of the pipeline's source; empty where it has no source.
    """

    def __init__(self, pipeline: Pipeline, most: int | None = None) -> None:
        self._lock = threading.Lock()
        self._first: list[torch.Tensor] = []
        self._batches: dict[int, torch.Tensor] = {}
        self._seen: set[int] = set()
        self._most = most or pipeline.spec.stream.max_batch
        self._model = pipeline.model_name
        self._check = RowCheck(self._model, self._most)
        self.samples: Sequence[Any] = ()
        if pipeline.spec.source is not None:
            self._begin(pipeline)

    def _begin(self, pipeline: Pipeline) -> None:
        events = pipeline.source().sample(_SAMPLES)
        try:
            with torch.inference_mode():
                features = pipeline.model.features(events)[: self._most]
            self._first = [features[:1], features]
            self.samples = events
        except Exception as error:
            if pipeline.variant is None:
                raise
            log.warning("no samples to warm up on", model=pipeline.model_name, error=f"{type(error).__name__}: {error}")

    def remember(self, features: torch.Tensor) -> None:
        """Remember the features of a batch that was served.

        Cheap: only the first batch of each power of two is copied; of those the largest are kept, and the smallest.
        """
        rows = min(len(features), self._most)
        size = padded(rows).bit_length()
        if size in self._seen or not rows:
            return
        with self._lock:
            self._seen.add(size)
            self._batches[size] = features[:rows].detach().clone()
            for middle in sorted(self._batches)[1 : -_KEPT + 1]:
                del self._batches[middle]

    @torch.inference_mode()
    def __call__(self, network: torch.nn.Module) -> None:
        """Run the network on the remembered batches; a version on which this raises does not serve.

        The first network is also tried on whether a row's outputs depend on its batch, which refuses no version.

        Raises:
            WeightsError: every output of a batch is NaN or infinite, which finite weights can do too.
        """
        with self._lock:
            batches = [self._batches[size] for size in sorted(self._batches)] or self._first
        for features in batches:
            outputs = forward(network, features)
            if outputs.is_floating_point() and not bool(torch.isfinite(outputs).any()):
                raise WeightsError(
                    f"all {len(outputs)} outputs of the warm-up are NaN or infinite", hint="this version cannot serve"
                )
        if batches and (compared := self._check(network, batches[-1])) is not None:
            metrics.UNEQUAL_SIZES.labels(self._model).set(len(compared.unequal))
