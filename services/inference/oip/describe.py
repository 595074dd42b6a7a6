"""What metadata, configuration and the index say, in plain values with the protocol's names, for both transports."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace import __version__
from headrace.contracts.oip.tensors import DATATYPES
from services.inference.oip.kinds import TensorSpec

PLATFORM = "headrace_pytorch"
EXTENSIONS = [
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
    "generate",
]
_LATEST: Mapping[str, Any] = {"latest": {"num_versions": 1}}


def server_metadata(*, shared_memory: bool = False) -> dict[str, Any]:
    """A ServerMetadataResponse; `shared_memory` says whether system shared memory is served."""
    extensions = [*EXTENSIONS, "system_shared_memory"] if shared_memory else EXTENSIONS
    return {"name": "headrace", "version": __version__, "extensions": extensions}


def model_metadata(
    name: str, versions: Sequence[int], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> dict[str, Any]:
    """A ModelMetadataResponse."""
    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in inputs],
        "outputs": [_tensor(spec) for spec in outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.kind.datatype, "shape": [-1, *spec.dims]}


def model_config(
    name: str,
    max_batch: int,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    threads: int,
    *,
    batching: dict[str, Any] | None = None,
    device: str = "cpu",
    version_policy: Mapping[str, Any] = _LATEST,
) -> dict[str, Any]:
    """A ModelConfig; `device` is as torch names it.

    Its parameter `json_tensors` names the tensors of BYTES whose elements are JSON, by commas.
    """
    return {
        "name": name,
        "platform": PLATFORM,
        "backend": "headrace",
        "version_policy": version_policy,
        "max_batch_size": max_batch,
        "input": [
            {
                "name": spec.name,
                "data_type": DATATYPES[spec.kind.datatype].config,
                "format": "FORMAT_NONE",
                "dims": spec.dims,
                "is_shape_tensor": False,
                "allow_ragged_batch": False,
                "optional": spec.optional,
            }
            for spec in inputs
        ],
        "output": [
            {
                "name": spec.name,
                "data_type": DATATYPES[spec.kind.datatype].config,
                "dims": spec.dims,
                "label_filename": "",
                "is_shape_tensor": False,
            }
            for spec in outputs
        ],
        "instance_group": [{"name": f"{name}_0", "count": threads, **_kind(device)}],
        "dynamic_batching": batching or {},
        "model_transaction_policy": {"decoupled": False},
        "parameters": {"json_tensors": {"string_value": ",".join(s.name for s in (*inputs, *outputs) if s.kind.json)}},
    }


def _kind(device: str) -> dict[str, Any]:
    _, _, index = device.partition(":")
    return {"kind": "KIND_GPU", "gpus": [int(index)]} if index else {"kind": "KIND_CPU"}


def dynamic_batching(max_delay_us: int, levels: int, default: int) -> dict[str, Any]:
    """A ModelDynamicBatching."""
    return {
        "preferred_batch_size": [],
        "max_queue_delay_microseconds": max_delay_us,
        "preserve_ordering": False,
        "priority_levels": levels,
        "default_priority_level": default,
    }


def index_entry(name: str, version: int, reason: str) -> dict[str, Any]:
    """A ModelIndex; the model is ready where there is no `reason` why not."""
    entry = {"name": name, "version": str(version) if version else "", "state": "UNAVAILABLE" if reason else "READY"}
    return {**entry, "reason": reason} if reason else entry
