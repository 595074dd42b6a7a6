"""Looking into a slot as a worker does."""

from pathlib import Path

import torch

from headrace.weights import Manifest
from headrace.weights.worker.mapping import map_slot, tensors_of


def map_tensors(path: Path, manifest: Manifest, digest: str) -> dict[str, torch.Tensor]:
    """A slot's tensors, mapped until the last of them is gone."""
    return tensors_of(map_slot(path, manifest, digest), manifest)
