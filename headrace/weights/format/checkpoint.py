"""Reading tensors from a safetensors file: a trainer's checkpoint, or weights from anywhere."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from headrace.weights.errors import WeightsError


@dataclass(frozen=True)
class TensorFile:
    """A file's tensors by name, and the strings of its header."""

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]


def load_checkpoint(path: Path, *, prefix: str = "") -> TensorFile:
    """Read the tensors whose names begin with ``prefix``, and return them without it.

    Raises:
        WeightsError: there is no such file, it is not a safetensors file, or no name begins so.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - not a mapping
            tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read the checkpoint {path}: {error}") from error
    if not tensors:
        raise WeightsError(f"the checkpoint {path} has no tensors named {prefix}*")
    return TensorFile(tensors, metadata)
