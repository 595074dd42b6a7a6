"""Beginning a new model with weights that were trained elsewhere, as far as they fit."""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load

from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import PipelineError
from headrace.runtime.logging import get_logger
from services.trainer.learner import Learner

log = get_logger("headrace.trainer")

FIELD = "training.warm_start"


class Report(NamedTuple):
    """Which of a network's tensors came from a file.

    Attributes:
        matched: those that did.
        missing: those that the file lacks; they stay as they were initialised.
        mismatched: those that have another shape or kind in the file, and how; they stay as well.
        unused: those that only the file has.
    """

    matched: list[str]
    missing: list[str]
    mismatched: list[str]
    unused: list[str]

    @property
    def summary(self) -> str:
        """In one line."""
        total = len(self.matched) + len(self.missing) + len(self.mismatched)
        said = f"{len(self.matched)} of {total} tensors"
        counts = {"missing": self.missing, "mismatched": self.mismatched, "unused": self.unused}
        return ", ".join([said, *(f"{len(names)} {what}" for what, names in counts.items() if names)])


def warm_start(pipeline: Pipeline, learner: Learner) -> dict[str, str]:
    """Give a learner that begins anew the pretrained weights that pipeline.yaml names; returns what lineage keeps.

    Tensors match by name and shape. Numbers take the network's type; every lane begins with the same.

    Raises:
        PipelineError: the file cannot be read, holds something else than tensors, or not one of them matches.
    """
    named = pipeline.spec.training.warm_start
    if named is None:
        return {}
    path = pipeline.folder / named
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{FIELD}: {path}: {error.strerror}", hint="relative to the pipeline's folder") from error
    pretrained = _tensors(path, data)
    weights = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    report = _merge(pretrained, weights)
    if not report.matched:
        names = f"it has {_some(list(pretrained))}, the network {_some(list(weights))}"
        raise PipelineError(f"{FIELD}: {path}: not one tensor matches: {names}")
    learner.begin_from(weights)
    log.info("warm start", file=str(path), **report._asdict())
    return {"warm_start": f"{named} ({xxhash.xxh3_128_hexdigest(data)}): {report.summary}"}


def _tensors(path: Path, data: bytes) -> dict[str, torch.Tensor]:
    """Name → tensor. Of files that are not safetensors, a state_dict, or a dict that has one as `state_dict`."""
    try:
        found: Any = load(data) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        said = str(error).strip().partition("\n")[0]
        raise PipelineError(
            f"{FIELD}: {path}: {said}", hint="safetensors, or a state_dict saved by torch.save, without other objects"
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise PipelineError(f"{FIELD}: {path}: a {type(found).__name__}, expected tensors by name")
    wild = [name for name, t in found.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if wild:
        raise PipelineError(f"{FIELD}: {path}: NaN or infinity in {_some(wild)}")
    return found


def _merge(pretrained: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> Report:
    """Copy what matches into `weights`."""
    report = Report([], [], [], sorted(pretrained.keys() - weights.keys()))
    for name, own in weights.items():
        other = pretrained.get(name)
        if other is None:
            report.missing.append(name)
        elif other.shape != own.shape or other.is_floating_point() != own.is_floating_point():
            report.mismatched.append(f"{name}: {_described(other)} in the file, {_described(own)} in the network")
        else:
            own.copy_(other)
            report.matched.append(name)
    return report


def _described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
