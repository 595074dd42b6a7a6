"""The Open Inference Protocol v2's requests, answers and errors, as the data plane knows them.

Neither transport is known here: REST and gRPC turn their messages into these and back.
"""

# ruff: noqa: N818 - each is named for what is wrong; their base class is the OipError

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from headrace.contracts.oip import tensors

if TYPE_CHECKING:
    from services.inference.oip.layout import Table


class OipError(Exception):
    """A request that cannot be answered. `http` and `grpc` are the status codes that the protocol gives it."""

    http = 500
    grpc = "INTERNAL"


class InvalidRequest(OipError):
    """The request contradicts itself or the model's metadata."""

    http = 400
    grpc = "INVALID_ARGUMENT"


class NotFound(OipError):
    """No such model or version."""

    http = 404
    grpc = "NOT_FOUND"


class AlreadyExists(OipError):
    """There is one of this name already."""

    http = 409
    grpc = "ALREADY_EXISTS"


class Unsupported(OipError):
    """A part of the protocol that is not served."""

    http = 501
    grpc = "UNIMPLEMENTED"


class Unavailable(OipError):
    """Not ready yet, or stopping; the same request may succeed later."""

    http = 503
    grpc = "UNAVAILABLE"


class Overloaded(OipError):
    """Too many requests wait already; the same request may succeed in `retry_after_s` seconds."""

    http = 503
    grpc = "RESOURCE_EXHAUSTED"
    retry_after_s = 1


class ModelFailed(OipError):
    """The model's own code raised."""


@dataclass(slots=True)
class InputTensor:
    """An input as it came: its bytes in `raw`, or its elements in row-major order in `values`.

    Values are bool, int, float, and bytes or str for BYTES; `nulls` says that some of them are None.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    raw: bytes | memoryview | None = None
    values: list[Any] | None = None
    nulls: bool = False


@dataclass(slots=True)
class OutputTensor:
    """An output: elements in row-major order as plain Python values, for BYTES bytes or str."""

    name: str
    datatype: str
    shape: list[int]
    values: list[Any]
    _part_of: "tuple[OutputTensor, int] | None" = None
    """The tensor of the whole batch, encoded once for all of its requests, and the first element of this part."""
    _raw: bytes | None = None
    placed: Mapping[str, str | int] | None = None
    """Where its bytes are in shared memory, by the protocol's parameters; then it has no values."""

    def rows(self, start: int, end: int) -> "OutputTensor":
        """Some of its rows, as a tensor of their own."""
        width = self.shape[1]
        values = self.values[start * width : end * width]
        return OutputTensor(self.name, self.datatype, [end - start, width], values, (self, start * width))

    def raw(self) -> bytes:
        """The elements' bytes.

        Raises:
            ModelFailed: the model predicted something else than `Model.predictions` is annotated with.
        """
        if self._raw is None:
            self._raw = self._encoded()
        return self._raw

    def _encoded(self) -> bytes:
        size = tensors.datatype(self.datatype).numpy
        if self._part_of is not None and size is not None:
            whole, first = self._part_of
            return whole.raw()[first * size.itemsize : (first + len(self.values)) * size.itemsize]
        try:
            return tensors.encode(self.datatype, self.values)
        except tensors.TensorError as error:
            raise ModelFailed(f"output '{self.name}': {error}") from error


class OutputPlace(Protocol):
    """A part of shared memory that an output goes to (services/inference/oip/shared_memory.py)."""

    @property
    def size(self) -> int:
        """Bytes that it has room for."""
        ...

    def write(self, tensor: OutputTensor) -> OutputTensor:
        """Put an output's bytes there; return the output that says where they are.

        Raises:
            InvalidRequest: they cannot be written.
        """
        ...


@dataclass(slots=True)
class InferRequest:
    """A request to predict. Without `outputs`, all are wanted; an empty `version` is the live one.

    `parameters` are the request's own, as plain values; unknown ones are tolerated. Where `table` is there, it is what
    the inputs would make, and they are left out. `places` are the outputs that go to shared memory.
    """

    model: str
    version: str
    inputs: list[InputTensor]
    outputs: list[str] = field(default_factory=list)
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    table: "Table | None" = None
    places: Mapping[str, OutputPlace] = field(default_factory=dict)


@dataclass(slots=True)
class InferAnswer:
    """The answer, and the exact weights that gave it. `parameters` are further ones of the response."""

    model: str
    version: int
    checkpoint: str
    outputs: list[OutputTensor]
    id: str = ""
    parameters: Mapping[str, int] | None = None
