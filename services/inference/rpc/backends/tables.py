"""Requests to a model of the repository, checked against its configuration: what joining them changes nothing about."""

from services.inference.oip.layout import Table
from services.inference.oip.messages import InferRequest, InputTensor, InvalidRequest
from services.inference.rpc.backends.arrays import column
from services.inference.rpc.backends.port import Columns, Signature, TensorInfo


class ArrayTables:
    """Makes tables of requests; the one part of such a table is its arrays by name, in the configuration's order."""

    def __init__(self, signature: Signature, max_batch: int) -> None:
        self._signature, self._max_batch = signature, max_batch
        self._outputs = {info.name for info in signature.outputs}
        self._inputs = {info.name: info for info in signature.inputs}

    def table(self, request: InferRequest) -> Table:
        """A request's table; without a batch in the model's tensors it has one row.

        Raises:
            InvalidRequest: its tensors do not fit the configuration, or each other.
        """
        name = self._signature.name
        for output in request.outputs:
            if output not in self._outputs:
                raise InvalidRequest(f"unexpected inference output '{output}' for model '{name}'")
        sent: dict[str, InputTensor] = {}
        for tensor in request.inputs:
            if tensor.name not in self._inputs:
                raise InvalidRequest(f"unexpected inference input '{tensor.name}' for model '{name}'")
            if tensor.name in sent:
                raise InvalidRequest(f"input '{tensor.name}' already exists in request for model '{name}'")
            sent[tensor.name] = tensor
        if missing := [i.name for i in self._signature.inputs if i.name not in sent and not i.optional]:
            raise InvalidRequest(f"expected input '{missing[0]}' for model '{name}', and it is not there")
        rows = {self._rows(info, sent[info.name]) for info in self._signature.inputs if info.name in sent}
        if len(rows) > 1:
            raise InvalidRequest(f"inputs of model '{name}' have different batch sizes: {sorted(rows)}")
        columns: Columns = {i.name: column(sent[i.name], i) for i in self._signature.inputs if i.name in sent}
        return Table(rows.pop() if rows else 1, (), [columns])

    def _rows(self, info: TensorInfo, tensor: InputTensor) -> int:
        """How many rows an input has, after a check of its datatype and shape."""
        name, shape = self._signature.name, list(tensor.shape)
        if tensor.datatype != info.datatype:
            raise InvalidRequest(
                f"input '{info.name}' for model '{name}': expected {info.datatype}, got {tensor.datatype}"
            )
        batched = self._signature.batched
        expected = [-1, *info.dims] if batched else list(info.dims)
        if len(shape) != len(expected) or any(e not in (-1, s) for e, s in zip(expected, shape, strict=True)):
            raise InvalidRequest(
                f"unexpected shape for input '{info.name}' for model '{name}'. Expected {expected}, got {shape}"
            )
        if not batched:
            return 1
        if not 1 <= shape[0] <= self._max_batch:
            raise InvalidRequest(
                f"inference request batch-size must be 1 to {self._max_batch} for '{name}', got {shape[0]}"
            )
        return shape[0]
