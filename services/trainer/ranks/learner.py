"""A step made together: each rank's gradients, averaged by the weight of its examples."""

from collections.abc import Sequence
from typing import Any

import torch

from headrace.model.pipeline import Pipeline
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import ConfigError, DataError
from services.trainer.batches import Item
from services.trainer.checkpoint import Checkpoint
from services.trainer.learner import MANY, Learner, _Seen
from services.trainer.learning.bad import Bad, NotFinite
from services.trainer.learning.lane import total_norm
from services.trainer.ranks.group import Group


class RankLearner(Learner):
    """Learns its part of every batch; weights, optimizer and steps are the same in all ranks.

    Raises:
        ConfigError: the network has buffers or sparse gradients, which ranks cannot average exactly.
    """

    def __init__(
        self, pipeline: Pipeline, window: int, resumed: Checkpoint | None, device: Device, *, group: Group
    ) -> None:
        self._group = group
        super().__init__(pipeline, window, resumed, device)
        network = self.lanes[0].network
        if buffer := next((name for name, _ in network.named_buffers()), None):
            raise ConfigError(f"ranks: the network has a buffer, {buffer}, which several ranks cannot learn exactly")
        if sparse := next((name for name, module in network.named_modules() if getattr(module, "sparse", False)), None):
            raise ConfigError(f"ranks: {sparse} has sparse gradients, which several ranks do not average")

    def learn(self, items: Sequence[Item]) -> list[Bad]:
        """Learn from this rank's examples, maybe none, together with the others; called by all ranks at once.

        Returns this rank's examples that could not be used.

        Raises:
            DataError: code raises on every example of a whole batch.
            DependencyError: another rank is gone.
        """
        lane = self.lanes[0]
        lane.optimizer.zero_grad()
        good, bad, seen = self._own(items)
        failed = bool(good) and seen is None
        weight = sum(item.example.importance for item in good) if seen is not None else 0.0
        parameters = [p for p in lane.network.parameters() if p.requires_grad]
        total = self._group.summed(self._flat(parameters, weight, len(good) if not failed else 0, failed=failed))
        total_weight, count, failures, loss = total[-4:].tolist()
        if failures:
            self._skip(good, NotFinite("gradients"))
        elif count:
            self.loss = loss / total_weight
            if seen is not None:
                self.progress.observe(seen.events, seen.new.labels, seen.predictions[0])
            self.examples += int(count)
            self._average(parameters, total[:-4] / total_weight)
            self._step_together(good)
        return bad

    def _own(self, items: Sequence[Item]) -> tuple[list[Item], list[Bad], _Seen | None]:
        """This rank's good examples, the bad ones, and what was seen; None if the rest cannot be learned from."""
        good, bad = list(items), list[Bad]()
        while good:
            try:
                _, seen = self._prepare(good)
            except Exception as error:
                self.lanes[0].optimizer.zero_grad()
                found = self._judge.bad(good, self.lanes[0].predict, error)
                raised = [one for one in found if not isinstance(one.error, NotFinite)]
                if len(raised) == len(items) >= MANY:
                    message = f"not one of {len(items)} examples could be learned from: {type(error).__name__}: {error}"
                    raise DataError(message, hint="is this model.py the one that fits the topic's events?") from error
                if not found:
                    if not isinstance(error, NotFinite):
                        raise
                    return good, bad, None
                bad += found
                out = {(one.item.partition, one.item.offset) for one in found}
                good = [item for item in good if (item.partition, item.offset) not in out]
            else:
                return good, bad, seen
        return good, bad, None

    def _flat(self, parameters: list[Any], weight: float, count: int, *, failed: bool) -> torch.Tensor:
        """Gradients times weight, one after the other in float64; then weight, examples, failures and loss."""
        parts = [torch.zeros(p.numel(), dtype=torch.float64) for p in parameters]
        loss = 0.0
        if weight:
            loss = self.loss * weight
            for part, parameter in zip(parts, parameters, strict=True):
                if parameter.grad is not None:
                    part.copy_(parameter.grad.reshape(-1)).mul_(weight)
        return torch.cat([*parts, torch.tensor([weight, count, float(failed), loss], dtype=torch.float64)])

    def _average(self, parameters: list[Any], flat: torch.Tensor) -> None:
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.reshape(parameter.shape).to(parameter.dtype)
        self.lanes[0]._norm = total_norm([p.grad for p in parameters])  # noqa: SLF001 - of the averaged gradients

    def _step_together(self, good: Sequence[Item]) -> None:
        try:
            self._step(list(self.lanes))
        except NotFinite as error:
            self._skip(good, error)
        else:
            self._in_doubt = 0
