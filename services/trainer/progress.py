"""Progressive validation: every example is predicted before it is learned from, by the model and by its baselines.

The mean of those errors is an honest figure of a model that learns online: Gama, Sebastião and Rodrigues, "On
evaluating stream learning algorithms", Machine Learning 90 (2013).
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from headrace.model.port import Baseline, Model

MODEL = "model"


class RunningError:
    """The mean of all errors, and that of about the last `window`."""

    def __init__(self, window: int, total: float = 0.0, count: int = 0) -> None:
        self.total, self.count = total, count
        self._window = window
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_total, self._recent_count = 0.0, 0

    def add(self, errors: list[float]) -> None:
        """Take a batch's errors. Those that are not finite count for nothing: the model's own metrics tell of them."""
        finite = [error for error in errors if math.isfinite(error)]
        total, count = math.fsum(finite), len(finite)
        if not count:
            return
        self.total, self.count = self.total + total, self.count + count
        self._recent.append((total, count))
        self._recent_total, self._recent_count = self._recent_total + total, self._recent_count + count
        while self._recent_count - self._recent[0][1] >= self._window:
            gone_total, gone_count = self._recent.popleft()
            self._recent_total, self._recent_count = self._recent_total - gone_total, self._recent_count - gone_count

    @property
    def mean(self) -> float | None:
        """Of all errors; None while there are none."""
        return self.total / self.count if self.count else None

    @property
    def recent(self) -> float | None:
        """Of the last ones."""
        return self._recent_total / self._recent_count if self._recent_count else None


class Progress:
    """The errors of a model and of its baselines, side by side."""

    def __init__(
        self, model: Model[Any, Any], window: int, saved: Mapping[str, tuple[float, int]] | None = None
    ) -> None:
        self._model = model
        self._baselines: dict[str, Baseline] = dict(model.baselines())
        saved = saved or {}
        self.errors = {name: RunningError(window, *saved.get(name, (0.0, 0))) for name in (MODEL, *self._baselines)}

    def observe(self, events: list[Any], labels: list[Any], predictions: list[Any]) -> list[float]:
        """Take predictions that were made before learning; then let the baselines predict and learn, one by one.

        Returns the predictions' errors.
        """
        error = self._model.error
        made = [error(p, label) for p, label in zip(predictions, labels, strict=True)]
        self.errors[MODEL].add(made)
        for name, baseline in self._baselines.items():
            predict, learn, errors = baseline.predict, baseline.learn, list[float]()
            for event, label in zip(events, labels, strict=True):
                errors.append(error(predict(event), label))
                learn(event, label)
            self.errors[name].add(errors)
        return made

    def warm_up(self, event: Any, label: Any) -> None:
        """Let the baselines learn from an example that was counted before a restart."""
        for baseline in self._baselines.values():
            baseline.learn(event, label)

    def saved(self) -> dict[str, tuple[float, int]]:
        """What a checkpoint keeps."""
        return {name: (error.total, error.count) for name, error in self.errors.items()}

    def metrics(self) -> dict[str, float]:
        """Figures for the checkpoint's event: error and error_mean, baseline.<name> and baseline_mean.<name>."""
        found: dict[str, float | None] = {}
        for name, error in self.errors.items():
            of, mean = ("error", "error_mean") if name == MODEL else (f"baseline.{name}", f"baseline_mean.{name}")
            found |= {of: error.recent, mean: error.mean}
        return {name: value for name, value in found.items() if value is not None}
