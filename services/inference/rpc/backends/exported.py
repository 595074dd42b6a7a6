"""The backend of model.pt2: a program of torch.export, on the CPU."""

import inspect
import os
import warnings
from pathlib import Path
from threading import Lock

import torch

from services.inference.rpc.backends.port import BackendError, Columns, Signature
from services.inference.rpc.backends.torch_tensors import check_datatypes, outputs_of, to_torch

_LOADING = Lock()
_NO_PICKLE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class ExportedBackend:
    """See `Backend`. Inputs go by the names of the program's arguments where these are theirs, else in their order.

    Raises:
        BackendError: the file is no such program, or does not take the inputs of the configuration.
    """

    fault = ""

    def __init__(self, path: Path, signature: Signature) -> None:
        check_datatypes(signature)
        self.inputs, self.outputs = signature.inputs, signature.outputs
        program = _load(path)
        self._module = program.module()
        arguments = inspect.signature(self._module.forward).parameters.values()
        if any(argument.kind is inspect.Parameter.KEYWORD_ONLY for argument in arguments):
            raise BackendError("the program takes keyword arguments; export it with positional ones")
        names = [argument.name for argument in arguments]
        if len(names) != len(self.inputs):
            raise BackendError(f"the program takes {names}, and the configuration has {len(self.inputs)} inputs")
        by_name = {info.name: info for info in self.inputs}
        self._order = [by_name[n] for n in names] if set(names) == set(by_name) else list(self.inputs)

    def run(self, columns: Columns) -> Columns:
        """See `Backend`."""
        with torch.inference_mode():
            answer = self._module(*(to_torch(columns[info.name], info) for info in self._order))
        return outputs_of(answer, self.outputs)

    def close(self) -> None:
        """See `Backend`."""


def _load(path: Path) -> torch.export.ExportedProgram:
    """Load a program without unpickling objects: torch itself would, where weights or sample inputs ask for it."""
    try:
        with _LOADING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.environ[_NO_PICKLE] = "1"  # and it stays: nothing in this process unpickles
            return torch.export.load(str(path))
    except Exception as error:  # torch raises whatever a damaged archive leads to
        said = (str(error).strip().splitlines() or [""])[0]
        raise BackendError(f"{path.name} cannot be loaded by torch.export: {type(error).__name__}: {said}") from error
