"""What runs inside Triton, on its Python backend: copied into every version's folder as model.py.

It needs torch and nothing of Headrace. Tensors pass by DLPack, without a copy and without numpy.
"""

from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as triton
from torch.utils import dlpack

_from_dlpack, _to_dlpack = dlpack.from_dlpack, dlpack.to_dlpack  # type: ignore[attr-defined]  # torch marks neither as exported


class TritonPythonModel:
    """One version's network: features [N, ...] to outputs [N, ...]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the version's own file."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.network = torch.export.load(folder / "network.pt2").module()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests that Triton has batched, in one forward pass."""
        parts = [_from_dlpack(triton.get_input_tensor_by_name(r, "features").to_dlpack()) for r in requests]
        with torch.inference_mode():
            outputs = self.network(torch.cat(parts))
        outputs = outputs.reshape(len(outputs), -1) if outputs.dim() == 1 else outputs
        answers = outputs.split([len(part) for part in parts])
        return [
            triton.InferenceResponse([_tensor(answer.clone(memory_format=torch.contiguous_format))])
            for answer in answers
        ]


def _tensor(answer: torch.Tensor) -> Any:
    return triton.Tensor.from_dlpack("outputs", _to_dlpack(answer))
