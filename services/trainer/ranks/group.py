"""The processes that learn together, over torch.distributed with gloo. A rank that is gone ends all the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist

from headrace.runtime.errors import DependencyError


class Group:
    """This process's place among the ranks.

    The training thread and the publisher's thread each have a connection of their own: `exchange`, `summed` and
    `from_first` are for the one, `published` for the other.

    Args:
        timeout_s: seconds to wait for the others.

    Raises:
        DependencyError: the others did not come in time.
    """

    def __init__(self, timeout_s: float) -> None:
        with _together("meeting the other ranks"):
            dist.init_process_group("gloo", timeout=timedelta(seconds=timeout_s))
            self._publishers = cast("dist.ProcessGroup", dist.new_group(timeout=timedelta(seconds=timeout_s)))
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def exchange(self, value: Any) -> list[Any]:
        """Every rank's value, by rank."""
        found: list[Any] = [None] * self.size
        with _together("exchanging"):
            dist.all_gather_object(found, value)
        return found

    def summed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add up all ranks' tensors, in place."""
        with _together("adding gradients"):
            dist.all_reduce(tensor)
        return tensor

    def from_first(self, value: Any) -> Any:
        """Rank 0's value."""
        box = [value]
        with _together("hearing from rank 0"):
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def published(self) -> None:
        """Wait until every rank's publisher is here."""
        with _together("publishing"):
            dist.all_reduce(torch.zeros(1), group=self._publishers)

    def close(self) -> None:
        """Leave."""
        dist.destroy_process_group()


@contextmanager
def _together(doing: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        rank = os.environ.get("RANK", "?")
        raise DependencyError(
            f"rank {rank}, {doing}: another rank is gone or does not answer: {str(error).splitlines()[0]}",
            hint="all ranks start again together and go on from the last checkpoint",
        ) from error
