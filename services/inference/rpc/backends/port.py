"""What computes the answers of one version of a model, whatever its file's format."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Columns = dict[str, np.ndarray[Any, Any]]
"""Tensors by name. BYTES are arrays of objects, each bytes; BF16 are its bits as uint16."""


class BackendError(Exception):
    """A version cannot be loaded: its file, or its configuration, is not what the backend needs."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output: `dims` leave the batch out where the model has one, and -1 is any size."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, in the configuration's order. `parameters` are the configuration's."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    batched: bool
    parameters: Mapping[str, str]


class Backend(Protocol):
    """One version of a model.

    Attributes:
        inputs, outputs: the tensors, as the configuration has them.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @property
    def fault(self) -> str:
        """Why a call now would fail; "" otherwise."""
        ...

    def run(self, columns: Columns) -> Columns:
        """The outputs of these inputs, batch first where the model has one. Called in any thread.

        Raises:
            Unavailable: whoever computes does not answer now; the same call may succeed later.
            Exception: whatever the model raises.
        """
        ...

    def close(self) -> None:
        """Let everything go; no call is running or follows."""
        ...
