"""Whether a network gives a row the same bytes alone and in a batch on this machine, as `exact_rows` means it to.

It depends on the network's operations and on torch's libraries for this processor or GPU, so it is tried.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from headrace.model.exact_rows import forward, padded
from headrace.runtime.logging import get_logger

log = get_logger("headrace.model")

SIZES = (8, 16, 24, 40, 64, 128, 256, 1024, 4096)
"""Rows, between which libraries are known to change kernels."""
_ROWS = 7
"""Different rows, so that in a batch of them each comes at every place of a block."""
LIMIT_S = 0.5
"""A size is begun within this; a slow network is not compared in large batches."""


class Compared(NamedTuple):
    """Batch sizes that were compared, and those of them in which a row's outputs are not what they are alone."""

    sizes: list[int]
    unequal: list[int]


@torch.inference_mode()
def compare_rows(network: torch.nn.Module, features: torch.Tensor, sizes: Sequence[int]) -> Compared:
    """Compare rows of `features` [N ≥ 1, ...] alone and in batches of these sizes, byte by byte, for about `LIMIT_S`.

    Raises:
        Exception: whatever the network raises.
    """
    rows = features[:_ROWS]
    alone = [forward(network, row[None]) for row in rows]
    found, started = Compared([], []), time.perf_counter()
    for size in sizes:
        if found.sizes and time.perf_counter() - started > LIMIT_S:
            break
        which = [i % len(rows) for i in range(size)]
        found.sizes.append(size)
        if not _same(forward(network, rows[which]), [alone[i] for i in which]):
            found.unequal.append(size)
    return found


def served_sizes(most: int) -> list[int]:
    """The sizes to compare where at most so many rows are computed at once."""
    return sorted({padded(most), *(size for size in SIZES if size <= padded(most))})


class RowCheck:
    """Compares once and warns in the log where rows differ; later calls do nothing.

    Args:
        model: the model's name.
        most: rows computed at once at most.
    """

    def __init__(self, model: str, most: int) -> None:
        self._model, self._most = model, most
        self._done = False

    def __call__(self, network: torch.nn.Module, features: torch.Tensor) -> Compared | None:
        """Compare by these features, of at least one row. None where it was done before, or the network raised."""
        if self._done:
            return None
        self._done = True
        try:
            found = compare_rows(network, features, served_sizes(self._most))
        except Exception as error:  # noqa: BLE001 - the author's network may raise anything; this is no request
            log.warning(
                "rows alone and in batches could not be compared",
                model=self._model, error=f"{type(error).__name__}: {error}",
            )  # fmt: skip
            return None
        if found.unequal:
            log.warning(
                "an event's outputs differ with the size of its batch, in their last bits or more",
                model=self._model, batch_sizes=found.unequal, compared=found.sizes,
            )  # fmt: skip
        return found


def _same(outputs: object, alone: Sequence[object]) -> bool:
    """Whether outputs are one row for each row, with the bytes of the rows alone."""
    if not isinstance(outputs, torch.Tensor) or not outputs.dim() or len(outputs) != len(alone):
        return False
    parts = [part for part in alone if isinstance(part, torch.Tensor) and part.dim() and len(part) == 1]
    return len(parts) == len(alone) and _bytes(outputs) == b"".join(map(_bytes, parts))


def _bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
