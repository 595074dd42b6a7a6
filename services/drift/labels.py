"""Errors as labels arrive: predictions wait for their labels, and labels that were read first for predictions."""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from headrace.evaluation.judge import Judge

ALL = 1 << 32


class LabelledErrors:
    """Joins predictions and labels by key, and judges them.

    Where more come than can be followed, a share of the keys is, chosen by the key's hash, so that both sides choose
    the same ones.

    Args:
        judge: says how wrong a prediction was.
        decode: a label of its JSON.
        limit: most that wait on each side; of more, the oldest are dropped.
        wait_s: seconds after which one that waits is dropped.
    """

    def __init__(self, judge: Judge, decode: Callable[[bytes], Any], *, limit: int, wait_s: float) -> None:
        self._judge, self._decode = judge, decode
        self._limit, self._wait_s = limit, wait_s
        self._predictions: dict[bytes, tuple[float, str, Any]] = {}  # in the order of arrival
        self._labels: dict[bytes, tuple[float, bytes]] = {}
        self._below = ALL
        self.unreadable = 0
        self.dropped = 0

    @property
    def share(self) -> float:
        """Of the keys, that is followed."""
        return self._below / ALL

    @property
    def waiting(self) -> int:
        """Predictions that wait for their label."""
        return len(self._predictions)

    def follow(self, share: float) -> None:
        """Follow this share of the keys from now on."""
        self._below = max(1, int(min(1.0, share) * ALL))

    def predictions(
        self, at: float, keys: Sequence[bytes], models: Sequence[str], values: Sequence[Any]
    ) -> list[tuple[str, float]]:
        """Take predictions, and return (model, error) of those whose label was there before; `at` is in seconds."""
        found, below, crc32 = [], self._below, zlib.crc32
        for key, model, value in zip(keys, models, values, strict=True):
            if crc32(key) >= below:
                continue
            label = self._labels.pop(key, None)
            if label is None:
                self._predictions[key] = at, model, value
            elif (error := self._error(value, label[1])) is not None:
                found.append((model, error))
        self._bound(self._predictions)
        return found

    def labels(self, at: float, keys: Sequence[bytes], values: Sequence[bytes]) -> list[tuple[str, float]]:
        """Take labels, and return (model, error) of those whose prediction was there before, in their order."""
        found, below, crc32 = [], self._below, zlib.crc32
        for key, value in zip(keys, values, strict=True):
            prediction = self._predictions.pop(key, None)
            if prediction is not None:
                if (error := self._error(prediction[2], value)) is not None:
                    found.append((prediction[1], error))
            elif crc32(key) < below:
                self._labels[key] = at, value
        self._bound(self._labels)
        return found

    def expire(self, now: float) -> None:
        """Drop what has waited for longer than `wait_s`."""
        both: tuple[dict[bytes, Any], ...] = (self._predictions, self._labels)
        for waiting in both:
            while waiting:
                key, one = next(iter(waiting.items()))
                if one[0] > now - self._wait_s:
                    break
                del waiting[key]
                self.dropped += 1

    def _bound(self, waiting: dict[bytes, Any]) -> None:
        while len(waiting) > self._limit:
            del waiting[next(iter(waiting))]
            self.dropped += 1

    def _error(self, prediction: Any, label: bytes) -> float | None:
        try:
            error = float(self._judge(prediction, self._decode(label)).error)
        except Exception:  # noqa: BLE001 - the pipeline author's `error` may raise anything
            self.unreadable += 1
            return None
        return error if math.isfinite(error) else None
