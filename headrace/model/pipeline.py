"""Loading a pipeline folder: pipeline.yaml, the model and the source that it names.

Every error names the file and, where there is one, the line and the field.
"""

import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import yaml
from pydantic import ValidationError

from headrace.contracts import topics
from headrace.contracts.records import example_decoder, prediction_decoder
from headrace.model.source import Source
from headrace.model.spec import PipelineSpec
from headrace.runtime.errors import PipelineError

if TYPE_CHECKING:
    from headrace.model.port import Model  # torch comes with it: `load_spec` must not wait for that

SPEC_FILE = "pipeline.yaml"

T = TypeVar("T")


@dataclass(frozen=True)
class Pipeline:
    """A loaded pipeline folder."""

    folder: Path
    spec: PipelineSpec
    model: "Model[Any, Any]"

    @property
    def name(self) -> str:
        """The pipeline's name; also its model's, in checkpoints and on the serving protocol."""
        return self.spec.name

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
        return [*topics.pipeline_topics(self.name, self.spec.topics.partitions), *topics.system_topics()]

    def source(self) -> Source:
        """The pipeline's own data.

        Raises:
            PipelineError: pipeline.yaml names no source, or it cannot be loaded.
        """
        if self.spec.source is None:
            raise PipelineError(f"{self.folder / SPEC_FILE}: no `source` is named", hint="source: source.py:MySource")
        return _load_reference(self.folder, "source", self.spec.source, Source)  # type: ignore[type-abstract]


def load_pipeline(folder: Path | str) -> Pipeline:
    """Load and check a pipeline folder.

    Raises:
        PipelineError: something is wrong; the text names file, line and field.
    """
    from headrace.model.port import Model

    folder = Path(folder).resolve()
    spec = load_spec(folder)
    model = _load_reference(folder, "model", spec.model, Model)  # type: ignore[type-abstract]
    _check_model(folder / spec.model.split(":")[0], model)
    return Pipeline(folder, spec, model)


def load_spec(folder: Path | str) -> PipelineSpec:
    """Load pipeline.yaml alone: fast, imports neither torch nor the author's code.

    Raises:
        PipelineError: the file is missing, is no YAML, or does not fit the schema.
    """
    path = Path(folder) / SPEC_FILE
    try:
        text = path.read_text()
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}", hint="headrace new NAME writes a pipeline folder") from error
    try:
        root, content = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PipelineError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict):
        raise PipelineError(f"{path}: expected a mapping of fields")
    try:
        return PipelineSpec(**content)
    except ValidationError as error:
        problems = [f"{path}:{_line(root, e['loc'])}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise PipelineError("\n".join(problems)) from error


def _line(node: Any, location: tuple[int | str, ...]) -> int:
    """The line, from 1, of the deepest part of `location` that is in the file."""
    line = 1
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == part:
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return line


def _load_reference(folder: Path, field: str, reference: str, expected: type[T]) -> T:
    """An instance of the class that `file.py:Class` names."""
    file, name = reference.split(":")
    module = _import_file(folder / file, f"{folder / SPEC_FILE}: {field}: {reference}")
    kind = getattr(module, name, None)
    if kind is None:
        raise PipelineError(f"{folder / file}: no class {name}", hint=f"{SPEC_FILE} names it in `{field}`")
    if not (isinstance(kind, type) and issubclass(kind, expected)):
        raise PipelineError(f"{folder / file}: {name} is not a headrace.{expected.__name__}")
    try:
        return kind()
    except Exception as error:
        raise PipelineError(f"{_where(error, folder / file)}: {name}() raised {type(error).__name__}: {error}") from error


def _import_file(path: Path, wanted_by: str) -> ModuleType:
    """Import one file of a pipeline folder; its siblings are `from .model import ...`, as in any package."""
    name = f"{_package(path.parent)}.{path.stem}"
    if (known := sys.modules.get(name)) is not None:
        return known
    if not path.is_file():
        raise PipelineError(f"{path}: no such file", hint=wanted_by)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PipelineError(f"{path}: not a Python file", hint=wanted_by)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PipelineError(f"{_where(error, path)}: {type(error).__name__}: {error}", hint=wanted_by) from error
    return module


def _package(folder: Path) -> str:
    """The name of the package that stands for a pipeline folder: one each, so that two pipelines' model.py do not meet."""
    name = f"headrace_pipeline_{re.sub(r'[^A-Za-z0-9_]', '_', folder.name)}"
    known = sys.modules.get(name)
    if known is None or list(known.__path__) != [str(folder)]:
        for stale in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
            del sys.modules[stale]
        package = ModuleType(name, f"The pipeline in {folder}.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


def _where(error: BaseException, path: Path) -> str:
    """file:line of the deepest frame of `error` inside the author's file."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    return f"{path}:{lines[-1]}" if lines else str(path)


def _check_model(path: Path, model: "Model[Any, Any]") -> None:
    """Types and key: what can be told without data."""
    name = type(model).__name__
    kinds: list[tuple[str, Any]] = [("event", model.event_type()), ("label", model.label_type())]
    for what, kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            raise PipelineError(f"{path}: {name}: the {what} type {kind!r} is not a msgspec.Struct")
        if not hasattr(model, "key"):
            raise PipelineError(f"{path}: {name}: no `key`", hint='write key = "the_field_that_events_and_labels_share"')
        if model.key not in kind.__struct_fields__:
            fields = ", ".join(kind.__struct_fields__)
            raise PipelineError(f"{path}: {name}: key {model.key!r} is no field of {kind.__name__}", hint=f"it has {fields}")
