"""Weights from a safetensors file, to serve a network without a fleet."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import ConfigError
from headrace.weights.worker.shadow import check_finite, load_into
from headrace.weights.worker.source import StaticWeights


def open_weights(path: Path, pipeline: Pipeline) -> StaticWeights:
    """The file's tensors as version 1 of the pipeline's model.

    Raises:
        ConfigError: there is no such file, or it is not in the safetensors format.
        IncompatibleWeights: the tensors do not fit the network.
        NonFiniteWeights: a tensor has NaN or infinity.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: cannot be read as safetensors: {error}", hint="--weights FILE") from error
    check_finite(tensors)
    return StaticWeights(load_into(pipeline.model.network(), tensors), model=pipeline.model_name)
