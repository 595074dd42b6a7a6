"""Weights from a safetensors file, to serve a network without a fleet."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from headrace.model.pipeline import Pipeline
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import ConfigError
from headrace.weights.worker.copied import structures_on
from headrace.weights.worker.shadow import WarmUp, check_finite
from headrace.weights.worker.source import StaticWeights
from headrace.weights.worker.staging_throttle import at_once


def open_weights(path: Path, pipeline: Pipeline, warm_up: WarmUp, device: Device) -> StaticWeights:
    """The file's tensors as version 1 of the pipeline's model, on the device, warmed up.

    Raises:
        ConfigError: there is no such file, or it is not in the safetensors format.
        IncompatibleWeights: the tensors do not fit the network.
        NonFiniteWeights: a tensor has NaN or infinity.
        WeightsError: the warm-up's outputs do.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: cannot be read as safetensors: {error}", hint="--weights FILE") from error
    check_finite(tensors)
    structure = structures_on(device)(pipeline.model.network())
    structure.load(tensors, at_once)
    warm_up(structure.network)
    return StaticWeights(structure.network, model=pipeline.model_name)
