"""What a checkpoint must pass before it is published, where pipeline.yaml sets `training.gates`.

Both the weights that learn and those that were published last predict each batch before it is learned from, so neither
has seen an example that it is judged by; their errors are compared over the newest examples.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from headrace.model.port import Model
from headrace.model.spec import GatesSpec
from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from services.trainer import randomness

BUCKETS = 20
"""Parts of the window; the oldest goes as a whole."""

Part = tuple[float, float, int]
NOTHING: Part = (0.0, 0.0, 0)
Window = list[Part]
"""Sums of errors of the learning weights and of the published ones, and the number of examples, part by part."""


class Refused(NamedTuple):
    """Why a checkpoint is not published: the gate (finite, worse, schema), a sentence, and what was compared."""

    gate: str
    reason: str
    values: dict[str, float]


class Gates:
    """One model's gates.

    Args:
        spec: which there are.
        model: whose error is compared.
        saved: the window, as a checkpoint keeps it.
        device: where the published weights predict.
    """

    def __init__(
        self, spec: GatesSpec, model: Model[Any, Any], saved: Window | None = None, device: Device = HOST
    ) -> None:
        self._spec, self._model, self._device = spec, model, device
        self._window = deque(saved or ())
        self._network: torch.nn.Module | None = None
        self._schema: dict[str, str] = {}
        self.version = 0
        """The version published last; 0 before the first."""

    def publish(self, version: int, weights: Mapping[str, torch.Tensor]) -> None:
        """A version is published: from now on these are the weights to compare with."""
        if self._network is None:
            with randomness.untouched():
                self._network = self._model.network().eval().to(self._device.torch_device)
        self._network.load_state_dict(dict(weights))
        self.version, self._schema = version, schema(weights)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Those that were published last."""
        return dict(self._network.state_dict()) if self._network is not None else {}

    @property
    def saved(self) -> Window:
        """What a checkpoint keeps."""
        return list(self._window)

    def observe(self, features: torch.Tensor, labels: Sequence[Any], errors: Sequence[float]) -> None:
        """Take a batch that is about to be learned from, and the errors of the weights that learn."""
        self.add(*self.measure(features, labels, errors))

    def measure(self, features: torch.Tensor, labels: Sequence[Any], errors: Sequence[float]) -> Part:
        """What a batch, or a rank's part of one, adds to the window. Changes nothing."""
        if self._network is None or self._spec.worse is None:
            return NOTHING
        pairs = list(zip(errors, self._published_errors(features, labels), strict=True))
        pairs = [(own, other) for own, other in pairs if math.isfinite(own) or math.isfinite(other)]
        if not pairs:
            return NOTHING
        own, published = (math.fsum(side) for side in zip(*pairs, strict=True))
        return own, published, len(pairs)

    def add(self, own: float, published: float, count: int) -> None:
        """Take what `measure` returned."""
        if not count:
            return
        if self._window and self._window[-1][2] < self._spec.examples / BUCKETS:
            last = self._window.pop()
            self._window.append((last[0] + own, last[1] + published, last[2] + count))
        else:
            self._window.append((own, published, count))
        while self._count - self._window[0][2] >= self._spec.examples:
            self._window.popleft()

    def refusal(self, weights: Mapping[str, torch.Tensor], *, ruined: bool) -> Refused | None:
        """Why these weights are not to be published; None if they are.

        `ruined` says that the weights that training had come to were no longer finite, and were taken back.
        """
        if self._network is None:
            return None
        if self._spec.finite and ruined:
            return Refused("finite", "the weights were not finite, and were taken back", {})
        if changed := difference(self._schema, schema(weights)):
            return Refused("schema", changed, {})
        return self._worse()

    def _worse(self) -> Refused | None:
        if self._spec.worse is None or self._count < self._spec.least:
            return None
        own = math.fsum(part[0] for part in self._window) / self._count
        published = math.fsum(part[1] for part in self._window) / self._count
        if not own > self._spec.worse * published:
            return None
        reason = f"error {own:.4g} on the last {self._count} examples, where version {self.version} has {published:.4g}"
        values = {"error": own, "published_error": published, "examples": float(self._count)}
        return Refused("worse", reason, values)

    @property
    def _count(self) -> int:
        return sum(count for _, _, count in self._window)

    def _published_errors(self, features: torch.Tensor, labels: Sequence[Any]) -> list[float]:
        """Infinite where code raises: such weights are no better than any."""
        assert self._network is not None
        try:
            with torch.inference_mode():
                outputs = self._device.to_host(self._network(self._device.to_device(features)))
                predictions = self._model.predictions(outputs)
            return [self._model.error(made, label) for made, label in zip(predictions, labels, strict=True)]
        except Exception:  # noqa: BLE001 - the author's code may raise anything
            return [math.inf] * len(labels)


def schema(weights: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Tensor → its type and shape."""
    return {name: f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}" for name, t in weights.items()}


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """In words, what changed from one schema to the other; "" if nothing did."""
    changed = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    said = [f"{name}: {before.get(name, 'absent')} became {after.get(name, 'absent')}" for name in changed]
    return "; ".join(said[:3]) + (f" and {len(said) - 3} more" if said[3:] else "")
