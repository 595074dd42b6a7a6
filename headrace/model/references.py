"""Classes that pipeline.yaml names as `file.py:Class`: importing the file, and making an instance.

Errors of the author's own code name its file and line.
"""

import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from headrace.model.spec_file import SPEC_FILE
from headrace.runtime.errors import PipelineError

T = TypeVar("T")


def load_reference(folder: Path, field: str, reference: str, expected: type[T]) -> T:
    """An instance of the class that `reference`, `file.py:Class`, names in `field` of pipeline.yaml.

    Raises:
        PipelineError: there is no such file or class, it does not derive from `expected`, or its own code raises.
    """
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
        raise PipelineError(
            f"{_where(error, folder / file)}: {name}() raised {type(error).__name__}: {error}"
        ) from error


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
    """The name of the package for a pipeline folder: one for each, so that two pipelines may both have a model.py."""
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
