"""Checks of the way from events to predictions: features, network, outputs, predictions."""

import inspect
import math
from typing import Any, get_args

import msgspec
import torch

from headrace.model.checks.pipeline_check import Broken, PipelineCheck, check_finite, check_rows, described


def check_features(check: PipelineCheck) -> str:
    """Features are one finite tensor with a row for each event, the same whatever batch the event is in."""
    model = check.pipeline.model
    made = model.features(check.events)
    if not isinstance(made, torch.Tensor):
        raise Broken(f"features returned a {type(made).__name__}, expected a torch.Tensor")
    check_rows("features", made, len(check.events))
    check_finite("features", made)
    alone = model.features(check.events[:1])
    if alone.shape[1:] != made.shape[1:] or alone.dtype != made.dtype or not torch.allclose(alone[0], made[0]):
        raise Broken("features of an event differ when it is alone in its batch: serving would not match training")
    check.features = made
    return f"{described(made)}, finite"


def check_network(check: PipelineCheck) -> str:
    """Every network has the same parameters."""
    networks = check.pipeline.model.network(), check.pipeline.model.network()
    shapes = [{name: (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()} for network in networks]
    if shapes[0] != shapes[1]:
        names = sorted(name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name))
        raise Broken(f"two calls of network() differ in {', '.join(names[:3])}")
    check.network = networks[0]
    return f"{type(networks[0]).__name__}, {sum(p.numel() for p in networks[0].parameters()):,} parameters"


def check_forward_pass(check: PipelineCheck) -> str:
    """The network turns features into finite outputs, row by row."""
    network = check.network.eval()
    with torch.inference_mode():
        outputs = network(check.features)
        if not isinstance(outputs, torch.Tensor):
            raise Broken(f"the network returned a {type(outputs).__name__}, expected one torch.Tensor")
        check_rows("the network's output", outputs, len(check.events))
        check_finite("the network's output", outputs)
        if not torch.allclose(network(check.features[:1])[0], outputs[0], rtol=1e-3, atol=1e-4):
            raise Broken("the network's output for an event depends on the other events in its batch")
    check.outputs = outputs
    return f"{described(outputs)}, finite"


def check_predictions(check: PipelineCheck) -> str:
    """Predictions are one JSON value for each event, of the annotated type."""
    model = check.pipeline.model
    made = model.predictions(check.outputs)
    if len(made) != len(check.events):
        raise Broken(f"predictions returned {len(made)} values for {len(check.events)} events")
    kind = model.prediction_type()
    try:
        text = msgspec.json.encode(list(made))
        check.predictions = msgspec.json.decode(text, type=list[kind])  # type: ignore[valid-type]
    except TypeError as error:
        raise Broken(f"predictions cannot be written as JSON: {error}; return Python values or structs") from error
    except msgspec.ValidationError as error:
        raise Broken(f"predictions are not what they are annotated to be: {error}") from error
    if any(isinstance(p, float) and not math.isfinite(p) for p in made):
        raise Broken("predictions are not all finite")
    hint = "" if kind is not Any else "; annotate `-> Sequence[float]` (or so) to type the serving protocol's output"
    example = f"{made[0]:.4g}" if isinstance(made[0], float) else str(made[0])[:60]
    return f"{_named(kind)}, e.g. {example}{hint}"


def _named(kind: Any) -> str:
    return kind.__name__ if inspect.isclass(kind) and not get_args(kind) else str(kind)
