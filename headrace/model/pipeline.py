"""Loading a pipeline folder: pipeline.yaml, the model and the source that it names.

Every error names the file and, where there is one, the line and the field.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.contracts import topics
from headrace.contracts.records import example_decoder, prediction_decoder
from headrace.model.label_values import label_problems
from headrace.model.references import load_reference
from headrace.model.source import Source
from headrace.model.spec import PipelineSpec, VariantSpec, name_in_fleet
from headrace.model.spec_file import SPEC_FILE, load_spec, spec_problem
from headrace.runtime.errors import PipelineError

if TYPE_CHECKING:
    from headrace.model.port import Model  # torch comes with it: `load_spec` must not wait for that


@dataclass(frozen=True)
class Pipeline:
    """A loaded pipeline folder, seen from one of its models: the champion, unless `of_model` chose another.

    `variant` is the section of pipeline.yaml that names the model, None of the champion; `others` are the champion's
    further models, each as the pipeline that its trainer sees.
    """

    folder: Path
    spec: PipelineSpec
    model: "Model[Any, Any]"
    variant: VariantSpec | None = None
    others: "tuple[Pipeline, ...]" = ()

    @property
    def name(self) -> str:
        """The pipeline's name: the prefix of its topics, and its champion's name on the serving protocol."""
        return self.spec.name

    @property
    def model_name(self) -> str:
        """The model's name in the fleet: in checkpoints, on headrace.* topics and on predictions.

        The champion has the pipeline's. Others have it as a prefix, so that two pipelines' models never meet.
        """
        return self.name if self.variant is None else name_in_fleet(self.name, self.variant.name)

    def of_model(self, name: str) -> "Pipeline":
        """The pipeline of the model of that name, in pipeline.yaml or in the fleet; "" is the champion.

        Raises:
            PipelineError: there is no such model.
        """
        if name in ("", self.model_name):
            return self
        for other in self.others:
            if other.variant is not None and name in (other.variant.name, other.model_name):
                return other
        known = ", ".join([self.name, *(variant.name for variant in self.spec.models)])
        raise PipelineError(f"{self.folder / SPEC_FILE}: no model {name!r}", hint=f"its models: {known}")

    @cached_property
    def event_decoder(self) -> msgspec.json.Decoder[Any]:
        """Bytes of an event's JSON to its struct, validated."""
        return msgspec.json.Decoder(self.model.event_type())

    @cached_property
    def label_decoder(self) -> msgspec.json.Decoder[Any]:
        """Bytes of a label's JSON to its struct, validated."""
        return msgspec.json.Decoder(self.model.label_type())

    @cached_property
    def example_decoder(self) -> msgspec.json.Decoder[Any]:
        """Bytes of an example's JSON to `records.Example`."""
        return example_decoder(self.model.event_type(), self.model.label_type())

    @cached_property
    def prediction_decoder(self) -> msgspec.json.Decoder[Any]:
        """Bytes of a prediction's JSON to `records.Prediction`."""
        return prediction_decoder(self.model.prediction_type())

    @property
    def topics(self) -> list[topics.Topic]:
        """Every topic that this pipeline needs, system topics included."""
        return [*spec_topics(self.spec), *topics.system_topics()]

    def source(self) -> Source:
        """The pipeline's own data.

        Raises:
            PipelineError: pipeline.yaml names no source, or it cannot be loaded.
        """
        if self.spec.source is None:
            raise PipelineError(f"{self.folder / SPEC_FILE}: no `source` is named", hint="source: source.py:MySource")
        return load_reference(self.folder, "source", self.spec.source, Source)  # type: ignore[type-abstract]


def spec_topics(spec: PipelineSpec) -> list[topics.Topic]:
    """The pipeline's own topics, without the system's."""
    return topics.pipeline_topics(spec.name, spec.topics.partitions, shadows=spec.has_shadows)


def load_pipeline(folder: Path | str) -> Pipeline:
    """Load and check a pipeline folder.

    Raises:
        PipelineError: something is wrong; the text names file, line and field.
    """
    from headrace.model.port import Model

    folder = Path(folder).resolve()
    spec = load_spec(folder)
    model = load_reference(folder, "model", spec.model, Model)  # type: ignore[type-abstract]
    _check_model(folder / spec.model.split(":")[0], model, spec)
    for location, text in label_problems(spec.join.labels, model.label_type(), model.key):
        raise spec_problem(folder, location, text)
    for location, text in spec.labelling.field_problems(model.event_type()):
        raise spec_problem(folder, location, text)
    others = tuple(_load_variant(folder, spec, i, model) for i in range(len(spec.models)))
    return Pipeline(folder, spec, model, others=others)


def _load_variant(folder: Path, spec: PipelineSpec, index: int, champion: "Model[Any, Any]") -> Pipeline:
    """A further model, which must have the champion's event, label, key and prediction types."""
    from headrace.model.port import Model

    variant = spec.models[index]
    model = load_reference(folder, f"models.{index}.model", variant.model, Model)  # type: ignore[type-abstract]
    path = folder / variant.model.split(":")[0]
    _check_model(path, model, spec)
    kinds = (
        ("event type", model.event_type(), champion.event_type()),
        ("label type", model.label_type(), champion.label_type()),
        ("key", model.key, champion.key),
        ("prediction type", model.prediction_type(), champion.prediction_type()),
        ("list of classes", list(model.classes), list(champion.classes)),
    )
    for what, own, wanted in kinds:
        if own != wanted:
            raise PipelineError(
                f"{path}: {type(model).__name__}, models.{index}.model: "
                f"its {what} is {_shown(own)}, the champion's {_shown(wanted)}",
                hint="the models of a pipeline have one stream of events and labels, one sink and one measure of error",
            )
    own_spec = spec.model_copy(update={"model": variant.model, "training": spec.training_of(variant)})
    return Pipeline(folder, own_spec, model, variant)


def _shown(kind: Any) -> str:
    """A type with where it comes from, since two of the same name are what is mixed up most."""
    if isinstance(kind, type) and kind.__module__ != "builtins":
        return f"{kind.__name__} of {kind.__module__.rpartition('.')[2]}.py"
    return getattr(kind, "__name__", repr(kind)) if isinstance(kind, type) else repr(kind)


def _check_model(path: Path, model: "Model[Any, Any]", spec: PipelineSpec) -> None:
    """Check the types, the key and the task, which needs no data."""
    name = type(model).__name__
    model.task = spec.task
    _check_task(path, model)
    kinds: list[tuple[str, Any]] = [("event", model.event_type()), ("label", model.label_type())]
    for what, kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            raise PipelineError(f"{path}: {name}: the {what} type {kind!r} is not a msgspec.Struct")
        if not hasattr(model, "key"):
            raise PipelineError(
                f"{path}: {name}: no `key`", hint='write key = "the_field_that_events_and_labels_share"'
            )
        if model.key not in kind.__struct_fields__:
            fields = ", ".join(kind.__struct_fields__)
            raise PipelineError(
                f"{path}: {name}: key {model.key!r} is not a field of {kind.__name__}", hint=f"it has {fields}"
            )


def _check_task(path: Path, model: "Model[Any, Any]") -> None:
    """Check that the model says what its task needs."""
    from headrace.evaluation.tasks import task_of
    from headrace.model.port import Model

    kind = type(model)
    try:
        task_of(model.task, model.classes)
    except ValueError as error:
        hint = 'classes = ("one", "other") in the model names them, for task multiclass or multilabel alone'
        raise PipelineError(f"{path}: {kind.__name__}: {error}", hint=hint) from error
    if kind.target is Model.target and (model.task != "regression" or kind.error is Model.error):
        raise PipelineError(
            f"{path}: {kind.__name__} has no `target`, which task {model.task} needs",
            hint="write def target(self, label): return label.the_field_that_was_to_be_predicted",
        )
