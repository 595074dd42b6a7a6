"""Forward passes whose rows do not depend on their batch: a prediction is the same bytes alone or among others.

A matrix product's last bit depends on which of the library's kernels computes a row, and that on the number of rows
and on the alignment of memory. Two measures make it the same: MKL is told to choose by the processor alone
(MKL_CBWR), and batches are filled up to a multiple of `BLOCK` rows, so that no row falls into the kernels for a
remainder.
"""

import os

import torch

BLOCK = 8
"""Rows: a multiple of it is computed by the same kernels whatever it is."""


def choose_fixed_kernels() -> None:
    """Tell MKL, before its first use in this process, to choose kernels by the processor alone.

    A set MKL_CBWR stays.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO")


def padded(rows: int) -> int:
    """Of how many rows the pass is in which `forward` computes so many."""
    return rows + -rows % BLOCK


def forward(network: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """The network's outputs of N rows, each as it would be in any other batch.

    Where the outputs are not one row a row of the features, they are computed and returned as they are.
    """
    rows = len(features)
    missing = -rows % BLOCK
    if not missing or not rows:
        return network(features)  # type: ignore[no-any-return]
    outputs = network(torch.cat([features, features[:1].expand(missing, *features.shape[1:])]))
    if isinstance(outputs, torch.Tensor) and outputs.dim() and len(outputs) == rows + missing:
        return outputs[:rows]
    return network(features)  # type: ignore[no-any-return]
