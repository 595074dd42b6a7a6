"""Weights from a safetensors file, to serve a network without a fleet."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import ConfigError
from headrace.weights.worker.shadow import WarmUp, check_finite, load_into
from headrace.weights.worker.source import StaticWeights


def open_weights(path: Path, pipeline: Pipeline, warm_up: WarmUp) -> StaticWeights:
    """The file's tensors as version 1 of the pipeline's model, warmed up.

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
    network = load_into(pipeline.model.network(), tensors)
    warm_up(network)
    return StaticWeights(network, model=pipeline.name)
