"""Reading pipeline.yaml. Every error names the file, the line and the field."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from headrace.model.spec import PipelineSpec
from headrace.runtime.errors import PipelineError

SPEC_FILE = "pipeline.yaml"


def load_spec(folder: Path | str) -> PipelineSpec:
    """Load pipeline.yaml alone: fast, imports neither torch nor the author's code.

    Raises:
        PipelineError: the file is missing, is not YAML, or does not fit the schema.
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
        spec = PipelineSpec(**content)
    except ValidationError as error:
        raise PipelineError("\n".join(_problem(path, root, e["loc"], e["msg"]) for e in error.errors())) from error
    if conflicts := [_problem(path, root, location, text) for location, text in spec.conflicts()]:
        raise PipelineError("\n".join(conflicts))
    return spec


def spec_problem(folder: Path, location: tuple[int | str, ...], text: str) -> PipelineError:
    """An error in a pipeline.yaml that was loaded before, with file, line and field."""
    path = folder / SPEC_FILE
    return PipelineError(_problem(path, yaml.compose(path.read_text(), yaml.SafeLoader), location, text))


def _problem(path: Path, root: Any, location: tuple[int | str, ...], text: str) -> str:
    return f"{path}:{_line(root, location)}: {'.'.join(map(str, location))}: {text}"


def _line(node: Any, location: tuple[int | str, ...]) -> int:
    """The line, from 1, of the deepest part of `location` that is in the file."""
    line = 1
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == part:
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return line
