"""The backend of model.pt: TorchScript, on the CPU."""

import warnings
from pathlib import Path
from threading import Lock

import torch

from services.inference.rpc.backends.port import BackendError, Columns, Signature
from services.inference.rpc.backends.torch_tensors import check_datatypes, outputs_of, to_torch

_LOADING = Lock()


class TorchScriptBackend:
    """See `Backend`. Inputs go by the names of forward's arguments where these are theirs, else in their order.

    Raises:
        BackendError: the file is no TorchScript, or does not take the inputs of the configuration.
    """

    fault = ""

    def __init__(self, path: Path, signature: Signature) -> None:
        check_datatypes(signature)
        self.inputs, self.outputs = signature.inputs, signature.outputs
        try:
            with _LOADING, warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the format's end is announced; files of it are there
                self._module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            raise BackendError(f"{path.name} cannot be loaded as TorchScript: {_first_line(error)}") from error
        names = [argument.name for argument in self._module.forward.schema.arguments[1:]]
        self._named = {info.name for info in self.inputs} <= set(names)
        if not self._named and len(names) < len(self.inputs):
            raise BackendError(f"forward takes {names}, and the configuration has {len(self.inputs)} inputs")

    def run(self, columns: Columns) -> Columns:
        """See `Backend`."""
        tensors = {i.name: to_torch(columns[i.name], i) for i in self.inputs if i.name in columns}
        with torch.inference_mode():
            answer = self._module(**tensors) if self._named else self._module(*tensors.values())
        return outputs_of(answer, self.outputs)

    def close(self) -> None:
        """See `Backend`."""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
