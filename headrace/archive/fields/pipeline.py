"""Finding out a pipeline's fields, in a process of its own: the author's code and torch are not needed afterwards."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace.archive.fields.types import PipelineFields, struct_fields, value_field
from headrace.model.code import code_digest
from headrace.runtime.errors import PipelineError
from headrace.runtime.files import synced

FILE = "fields.json"
_LOADING_S = 120.0
_LOOK_S = 0.2


def kept_fields(root: Path) -> PipelineFields | None:
    """The fields that the archive in this folder was last written with; None if it is new.

    A damaged file is as none: it is made again.
    """
    try:
        return msgspec.json.decode((root / FILE).read_bytes(), type=PipelineFields)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def fields_of(root: Path, pipeline: Path, is_stopped: Callable[[], bool] = lambda: False) -> PipelineFields:
    """The fields of the pipeline in that folder, kept in the archive's folder until the pipeline's code changes.

    Loading the pipeline is given up when `is_stopped`.

    Raises:
        PipelineError: the pipeline cannot be loaded.
    """
    kept = kept_fields(root)
    if kept is not None and kept.digest == code_digest(pipeline):
        return kept
    found = _asked(pipeline, is_stopped)
    with synced(root / FILE) as file:
        file.write(msgspec.json.format(msgspec.json.encode(found)))
    return found


def _asked(pipeline: Path, is_stopped: Callable[[], bool]) -> PipelineFields:
    command = [sys.executable, "-m", "headrace.archive.fields", str(pipeline)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    deadline = time.monotonic() + _LOADING_S
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:  # noqa: S603
        while True:
            try:
                said, complaint = process.communicate(timeout=_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                if is_stopped() or time.monotonic() > deadline:
                    process.kill()
                    raise PipelineError(f"{pipeline}: loading it took too long, or was given up") from None
    if process.returncode:
        raise PipelineError(complaint.decode(errors="replace").strip() or f"{pipeline} cannot be loaded")
    return msgspec.json.decode(said, type=PipelineFields)


def load_fields(folder: Path) -> PipelineFields:
    """The fields, from the loaded pipeline.

    Raises:
        PipelineError: it cannot be loaded.
    """
    from headrace.model.pipeline import load_pipeline

    digest = code_digest(folder)  # before it is loaded: code that changes meanwhile is looked at again
    model = load_pipeline(folder).model
    return PipelineFields(
        digest,
        struct_fields(model.event_type()),
        struct_fields(model.label_type()),
        value_field("prediction", model.prediction_type()),
    )
