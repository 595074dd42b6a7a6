"""What a version consists of in Triton's repository.

Its network as a torch.export program, and the model's configuration.

The exported program is the network's graph with the version's weights: Triton's host needs torch to run it, and neither
Headrace nor the pipeline's code. The graph calls the same operators as the network does, so answers on the same
hardware agree to the last bits.
"""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from headrace.weights import Bound
from headrace.weights.errors import WeightsError

_TYPES = {
    torch.float64: "FP64", torch.float32: "FP32", torch.float16: "FP16", torch.bfloat16: "BF16", torch.int64: "INT64",
    torch.int32: "INT32", torch.int16: "INT16", torch.int8: "INT8", torch.uint8: "UINT8", torch.bool: "BOOL",
}  # fmt: skip


def triton_type(dtype: torch.dtype) -> str:
    """Triton's name of a tensor's type.

    Raises:
        WeightsError: it has none.
    """
    if dtype not in _TYPES:
        raise WeightsError(f"Triton has no type for {dtype}")
    return _TYPES[dtype]


def version_files(bound: Bound, features: torch.Tensor) -> dict[str, bytes]:
    """Return the files of a version's folder, by name.

    Args:
        bound: the version.
        features: a batch of at least two rows, as the network takes it; the number of rows is left open.

    Raises:
        WeightsError: torch.export cannot capture the network.
    """
    try:
        program = torch.export.export(bound.network, (features,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        program.example_inputs = None  # they would be written as well
    except Exception as error:  # whatever the network's code or the exporter raises
        raise WeightsError(
            f"torch.export cannot capture the network of {bound.manifest.model}: {type(error).__name__}: {error}",
            hint="its control flow must not depend on tensors' values, nor on the number of rows",
        ) from error
    saved = io.BytesIO()
    torch.export.save(program, saved)
    return {
        "network.pt2": saved.getvalue(),
        "model.py": Path(__file__).with_name("on_triton.py").read_bytes(),
        "checkpoint.json": json.dumps(lineage(bound), indent=1).encode(),
    }


def lineage(bound: Bound) -> dict[str, object]:
    """Where a version comes from, for whoever finds its folder."""
    manifest = bound.manifest
    offsets = {topic: {str(number): offset for number, offset in of.items()} for topic, of in manifest.offsets.items()}
    return {
        "model": manifest.model, "version": bound.version, "checkpoint": bound.checkpoint, "step": manifest.step,
        "offsets": offsets, "created_at_us": manifest.created_at, "torch": torch.__version__,
    }  # fmt: skip


def config(bound: Bound, features: torch.Tensor, outputs: torch.Tensor, max_batch: int) -> str:
    """Return the model's config.pbtxt, which names the one version to serve.

    `latest` would not do: after a roll back the version to serve is not the one with the greatest number.
    """
    return f"""name: "{bound.manifest.model}"
backend: "python"
max_batch_size: {max_batch}
input [ {{ name: "features" data_type: TYPE_{triton_type(features.dtype)} dims: {_dims(features.shape[1:])} }} ]
output [ {{ name: "outputs" data_type: TYPE_{triton_type(outputs.dtype)} dims: {_dims(outputs.shape[1:])} }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
dynamic_batching {{ }}
version_policy: {{ specific: {{ versions: [ {bound.version} ] }} }}
parameters: {{ key: "headrace.checkpoint" value: {{ string_value: "{bound.checkpoint}" }} }}
"""


def served_version(config: str) -> int:
    """The version that a config.pbtxt of ours names; 0 if none."""
    found = re.search(r"versions: \[ (\d+) \]", config)
    return int(found[1]) if found else 0


def _dims(shape: Sequence[int]) -> str:
    """One row's shape; a number a row is a row of one."""
    return f"[ {', '.join(map(str, shape or (1,)))} ]"
