"""Trying a pipeline out on a little of its own data, without Kafka: what `headrace check` does.

`CHECKS` are the promises that the services rely on, in order. Each takes the `PipelineCheck` and returns a few words of what it
found,
or raises: a `Broken` of ours, or whatever the author's code raised, whose file and line the report then names. A
failure of one that others stand on ends the trial.
"""

import inspect
import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import msgspec
import torch
from torch import nn

from headrace.model.pipeline import Pipeline
from headrace.model.source import BadRow, Item, Timed
from headrace.runtime.errors import HeadraceError

BATCH = 32  # labelled examples that the model is tried on
SEARCHED = 20_000  # records that are read to find them


class Broken(Exception):  # noqa: N818 - a promise is
    """A promise that the pipeline does not keep; the text says what, with field names, shapes and values."""


@dataclass(frozen=True)
class Outcome:
    """How one check went; `detail` is what it found, or what is wrong and where."""

    title: str
    ok: bool
    detail: str


@dataclass
class PipelineCheck:
    """What the checks share, filled in by those that come first."""

    pipeline: Pipeline
    records: Iterable[Item] | None = None
    """The data to try it on; None takes the pipeline's own source."""
    events: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    features: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    network: nn.Module = field(default_factory=nn.Identity)
    outputs: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    predictions: list[Any] = field(default_factory=list)


def sampled(trial: PipelineCheck) -> str:
    """The source gives events of the right type for `sample`."""
    if trial.records is not None:
        return "records come from files"
    if trial.pipeline.spec.source is None:
        raise Broken("pipeline.yaml names no source to take sample events from; give --events and --labels")
    kind = trial.pipeline.model.event_type()
    sample = trial.pipeline.source().sample(BATCH)
    wrong = [type(value).__name__ for value in sample if not isinstance(value, kind)]
    if wrong or not sample:
        raise Broken(
            f"source.sample({BATCH}) gave {wrong[0] if wrong else 'nothing'}, expected {kind.__name__} structs"
        )
    return f"{len(sample)} x {kind.__name__}"


def replayed(trial: PipelineCheck) -> str:
    """Records come in order of time, keys are unique, each label follows its event."""
    events: dict[str, Any] = {}
    before, read = -math.inf, 0
    records = trial.pipeline.source().replay() if trial.records is None else trial.records
    for item in islice(records, SEARCHED):
        read += 1
        record = _record(item)
        if not record.at >= before:
            raise Broken(f"record {read} is at {record.at}, before the one in front of it at {before}")
        before = record.at
        _add(trial, events, record)
        if len(trial.labels) == BATCH:
            break
    if not trial.labels:
        raise Broken(f"no label among the first {read:,} records, so the model cannot be tried")
    return f"{len(trial.labels)} labelled events among the first {read:,} records, in order"


def _record(item: Item) -> Timed:
    if isinstance(item, BadRow):
        raise Broken(str(item))
    return item


def _add(trial: PipelineCheck, events: dict[str, Any], record: Timed) -> None:
    model, value = trial.pipeline.model, record.value
    expected = model.event_type() if record.kind == "events" else model.label_type()
    if not isinstance(value, expected):
        raise Broken(f"a record of kind {record.kind!r} holds a {type(value).__name__}, expected {expected.__name__}")
    key = model.key_of(value)
    if record.kind == "events" and key in events:
        raise Broken(f"two events have the {model.key} {key!r}: it must be unique")
    if record.kind == "events":
        events[key] = value
    elif key not in events:
        raise Broken(f"a label with the {model.key} {key!r} comes before any such event")
    else:
        trial.events.append(events[key])
        trial.labels.append(value)


def round_trips(trial: PipelineCheck) -> str:
    """Events and labels survive JSON."""
    for values, decoder in ((trial.events, trial.pipeline.event_decoder), (trial.labels, trial.pipeline.label_decoder)):
        for value in values:
            again = decoder.decode(msgspec.json.encode(value))
            for name in value.__struct_fields__:
                if getattr(again, name) != getattr(value, name):
                    what = f"{type(value).__name__}.{name}"
                    raise Broken(
                        f"{what} is {getattr(value, name)!r}, and {getattr(again, name)!r} after JSON and back"
                    )
    return f"{type(trial.events[0]).__name__} and {type(trial.labels[0]).__name__} as JSON and back"


def featured(trial: PipelineCheck) -> str:
    """Features are one finite tensor with a row for each event, the same whatever batch the event is in."""
    model = trial.pipeline.model
    made = model.features(trial.events)
    if not isinstance(made, torch.Tensor):
        raise Broken(f"features returned a {type(made).__name__}, expected a torch.Tensor")
    _rows("features", made, len(trial.events))
    _finite("features", made)
    alone = model.features(trial.events[:1])
    if alone.shape[1:] != made.shape[1:] or alone.dtype != made.dtype or not torch.allclose(alone[0], made[0]):
        raise Broken("features of an event differ when it is alone in its batch: serving would not match training")
    trial.features = made
    return f"{list(made.shape)}, {_dtype(made)}, finite"


def built(trial: PipelineCheck) -> str:
    """Every network has the same parameters."""
    networks = trial.pipeline.model.network(), trial.pipeline.model.network()
    shapes = [{name: (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()} for network in networks]
    if shapes[0] != shapes[1]:
        names = sorted(name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name))
        raise Broken(f"two calls of network() differ in {', '.join(names[:3])}")
    trial.network = networks[0]
    return f"{type(networks[0]).__name__}, {sum(p.numel() for p in networks[0].parameters()):,} parameters"


def forwarded(trial: PipelineCheck) -> str:
    """The network turns features into finite outputs, row by row."""
    network = trial.network.eval()
    with torch.inference_mode():
        outputs = network(trial.features)
        if not isinstance(outputs, torch.Tensor):
            raise Broken(f"the network returned a {type(outputs).__name__}, expected one torch.Tensor")
        _rows("the network's output", outputs, len(trial.events))
        _finite("the network's output", outputs)
        if not torch.allclose(network(trial.features[:1])[0], outputs[0], rtol=1e-3, atol=1e-4):
            raise Broken("the network's output for an event depends on the other events in its batch")
    trial.outputs = outputs
    return f"{list(outputs.shape)}, {_dtype(outputs)}, finite"


def predicted(trial: PipelineCheck) -> str:
    """Predictions are one JSON value for each event, of the annotated type."""
    model = trial.pipeline.model
    made = model.predictions(trial.outputs)
    if len(made) != len(trial.events):
        raise Broken(f"predictions returned {len(made)} values for {len(trial.events)} events")
    kind = model.prediction_type()
    try:
        text = msgspec.json.encode(list(made))
        trial.predictions = msgspec.json.decode(text, type=list[kind])  # type: ignore[valid-type]
    except TypeError as error:
        raise Broken(f"predictions cannot be written as JSON: {error}; return Python values or structs") from error
    except msgspec.ValidationError as error:
        raise Broken(f"predictions are not what they are annotated to be: {error}") from error
    if any(isinstance(p, float) and not math.isfinite(p) for p in made):
        raise Broken("predictions are not all finite")
    hint = "" if kind is not Any else "; annotate `-> Sequence[float]` (or so) to type the serving protocol's output"
    return f"{_kind(kind)}, e.g. {str(made[0])[:60]}{hint}"


def measured(trial: PipelineCheck) -> str:
    """The model's and the baselines' errors are finite numbers."""
    model = trial.pipeline.model
    pairs = list(zip(trial.predictions, trial.labels, strict=True))
    errors = {"untrained": [_error(model.error(p, label), "error") for p, label in pairs]}
    for name, baseline in model.baselines().items():
        errors[name] = []
        for event, label in zip(trial.events, trial.labels, strict=True):
            errors[name].append(_error(model.error(baseline.predict(event), label), f"error of baseline {name!r}"))
            baseline.learn(event, label)
    return ", ".join(f"{name} {sum(e) / len(e):.3g}" for name, e in errors.items()) + f" {model.error_unit}".rstrip()


def _error(value: Any, what: str) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise Broken(f"{what} is {value!r}, expected a finite number")
    return float(value)


def learned(trial: PipelineCheck) -> str:
    """The loss is one finite number, its gradients are finite, and a step leaves finite weights."""
    model, network = trial.pipeline.model, trial.network.train()
    optimizer = model.optimizer(network, trial.pipeline.spec.training.learning_rate)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss: Any = model.loss(network(trial.features), trial.labels)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise Broken(f"loss returned {_shown(loss)}, expected a scalar tensor")
        _finite("the loss", loss.detach())
        if not loss.requires_grad:
            raise Broken("the loss has no gradient: compute it from the outputs with torch")
        torch.autograd.backward(loss)
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                _finite(f"the gradient of {name}", parameter.grad)
        optimizer.step()
        losses.append(float(loss.detach()))
    for name, tensor in network.state_dict().items():
        _finite(f"{name}, after a step,", tensor)
    if all(p.grad is None for p in network.parameters()):
        raise Broken("no parameter of the network has a gradient")
    return f"loss {losses[0]:.4g}, then {losses[1]:.4g} after a step of {type(optimizer).__name__}"


def carried(trial: PipelineCheck) -> str:
    """A trained network's weights, written as safetensors and loaded into a fresh network, give the same outputs."""
    from safetensors.torch import load

    from headrace.weights.format.payload import dump

    network = trial.network.eval()
    payload = dump(network.state_dict())
    fresh = trial.pipeline.model.network().eval()
    fresh.load_state_dict(load(payload))
    with torch.inference_mode():
        if not torch.equal(fresh(trial.features), network(trial.features)):
            raise Broken(
                "a network with the same state dict answers differently: something it learns is not in state_dict()"
            )
    return f"{len(payload):,} bytes of safetensors, the same outputs"


Check = tuple[str, Callable[[PipelineCheck], str]]
CHECKS: tuple[Check, ...] = (
    ("sample events", sampled),
    ("replay", replayed),
    ("JSON round trip", round_trips),
    ("features", featured),
    ("network", built),
    ("forward pass", forwarded),
    ("predictions", predicted),
    ("error and baselines", measured),
    ("loss and training", learned),
    ("weights", carried),
)


def run_checks(trial: PipelineCheck, checks: Iterable[Check] = CHECKS) -> Iterator[Outcome]:
    """Outcomes, one after the other, until the first failure: what follows stands on what came before."""
    for title, check in checks:
        try:
            yield Outcome(title, ok=True, detail=check(trial))
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything, and that is what is reported
            yield Outcome(title, ok=False, detail=_explain(error, trial.pipeline.folder))
            return


def _explain(error: Exception, folder: Path) -> str:
    """What is wrong, with the deepest line of the author's own files."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{f.filename}:{f.lineno}: " for f in frames if Path(f.filename).is_relative_to(folder)]
    if isinstance(error, Broken | HeadraceError):
        return str(error)
    return f"{own[-1] if own else ''}{type(error).__name__}: {error}"


def _rows(what: str, tensor: torch.Tensor, rows: int) -> None:
    if tensor.dim() == 0 or tensor.shape[0] != rows:
        raise Broken(f"{what} has shape {list(tensor.shape)} for {rows} events, expected [{rows}, ...]")


def _finite(what: str, tensor: torch.Tensor) -> None:
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        place = (~torch.isfinite(tensor)).nonzero()[0].tolist()
        raise Broken(f"{what} holds {tensor[tuple(place)].item()} at {place}, expected finite numbers")


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shown(value: Any) -> str:
    return f"shape {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__


def _kind(kind: Any) -> str:
    return kind.__name__ if inspect.isclass(kind) and not get_args(kind) else str(kind)
