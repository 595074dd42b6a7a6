"""What a pipeline's author writes: one class that serves the stream, gRPC, REST, files and training alike."""

import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec
import numpy as np
import torch

from headrace.evaluation.judge import Judge, baselines_of
from headrace.evaluation.names import TaskName
from headrace.evaluation.tasks import task_of
from headrace.model.embedding import SparseDenseAdam, sparse_parameters
from headrace.runtime.errors import PipelineError

E = TypeVar("E", bound=msgspec.Struct)
L = TypeVar("L", bound=msgspec.Struct)


class Baseline(Protocol):
    """A simple predictor that a model must beat. It predicts before it learns, event after event."""

    def predict(self, event: Any) -> Any:
        """A prediction from what was learned so far, in the form that `Model.error` takes."""
        ...

    def learn(self, event: Any, label: Any) -> None:
        """Learn from one labelled event."""
        ...


class Model(ABC, Generic[E, L]):
    """A model of events of type E whose labels of type L arrive later.

    Headrace never holds one batch's state on this object: weights live in the module that `network` returns, and
    several versions of it exist at once. Methods may be called from several threads.

    `key` names the field, in both structs, that ties a label to its event; its values must be unique among events
    within the join's window.
    """

    key: ClassVar[str]
    task: TaskName = "regression"
    """Set as pipeline.yaml says, when the pipeline is loaded."""
    classes: ClassVar[Sequence[str]] = ()
    """The classes of task multiclass, or the labels of multilabel, in the order of a prediction's probabilities."""
    error_unit: ClassVar[str] = ""
    """Unit of what `error` returns, for people."""
    finite: ClassVar[bool] = True
    """Whether weights with NaN or infinity are refused before they serve; False where the network means them so."""

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """A freshly initialised network: features [N, ...] to outputs. Always of the same structure, weights apart."""

    @abstractmethod
    def features(self, events: Sequence[E]) -> torch.Tensor:
        """A batch of events as one tensor, shape [N, ...], N = len(events), finite. Serving and training share this."""

    def features_of_columns(self, columns: Mapping[str, np.ndarray]) -> torch.Tensor | None:  # noqa: ARG002
        """What `features` returns, bit for bit, made of the events' fields as columns: for files, where that is faster.

        Optional: without it files are read to events as everything else is. `columns` has every field by its name in
        JSON, N values each: float64 (NaN for None), int64, bool, else Python objects (int and bool too, where some are
        None). Batch jobs compare both forms on their first rows.
        """
        return None

    @abstractmethod
    def loss(self, outputs: torch.Tensor, labels: Sequence[L]) -> torch.Tensor:
        """A scalar to minimise, the mean over the batch."""

    @abstractmethod
    def predictions(self, outputs: torch.Tensor) -> Sequence[Any]:
        """The network's outputs as N values that go on the sink: floats, ints, strings, lists, or msgspec structs.

        Each has the form that the task reads (docs/tasks.md). Annotate the return type as `Sequence[float]` (or so):
        the serving protocol's output is typed by it.
        """

    def target(self, label: L) -> Any:
        """What a label says was true, in the task's form: a number, a bool, a class, or labels.

        Needed by every task but regression, and there for the baselines and metrics that come with a task.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `target`")

    def error(self, prediction: Any, label: L) -> float:
        """How wrong one prediction was, in `error_unit`; lower is better. Its mean is what people watch.

        Unless overridden, the task's loss of the prediction and the label's `target`.
        """
        return self.judge(prediction, label).error

    def optimizer(self, network: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        """The optimizer of online training: Adam unless overridden, by rows for embeddings with sparse gradients."""
        if sparse_parameters(network):
            return SparseDenseAdam(network, learning_rate)
        return torch.optim.Adam(network.parameters(), lr=learning_rate)

    def baselines(self) -> Mapping[str, Baseline]:
        """Fresh baselines to compare the model with, by name; unless overridden the task's, where there is `target`."""
        return baselines_of(self.judge.task, self.target) if self._overrides("target") else {}

    @cached_property
    def judge(self) -> Judge:
        """Error and evidence of a prediction and its label."""
        return Judge(
            task_of(self.task, self.classes),
            error=self.error if self._overrides("error") else None,
            target=self.target if self._overrides("target") else None,
        )

    def _overrides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(Model, method)

    @classmethod
    def event_type(cls) -> type[E]:
        """E."""
        return typing.cast("type[E]", cls._type_argument(0))

    @classmethod
    def label_type(cls) -> type[L]:
        """L."""
        return typing.cast("type[L]", cls._type_argument(1))

    @classmethod
    def prediction_type(cls) -> Any:
        """The element type of what `predictions` is annotated to return; Any where it is not annotated."""
        returned = typing.get_type_hints(cls.predictions).get("return", Any)
        arguments = typing.get_args(returned)
        return arguments[0] if arguments else Any

    @classmethod
    def _type_argument(cls, position: int) -> Any:
        for kind in cls.__mro__:
            for base in getattr(kind, "__orig_bases__", ()):
                if typing.get_origin(base) is Model:
                    return typing.get_args(base)[position]
        raise PipelineError(
            f"class {cls.__name__} does not say its event and label types",
            hint=f"write class {cls.__name__}(headrace.Model[MyEvent, MyLabel])",
        )

    def key_of(self, record: msgspec.Struct) -> str:
        """The key of an event or label, as text."""
        return str(getattr(record, self.key))
