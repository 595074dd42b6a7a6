"""Requests that differ from an earlier one in their bytes and id alone: what is known of their inputs.

A client sends the same metadata over and over: names, datatypes, shapes, wishes. It is parsed and checked once, by the
general way. Of each further request with the same metadata only the inputs' bytes are cut out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.contracts.oip import tensors
from services.inference.oip.layout import Layout, Table
from services.inference.oip.messages import InferRequest
from services.inference.oip.tables import raw_part
from services.inference.rpc.served import Repeats, Served


@dataclass(frozen=True, slots=True)
class Repeated:
    """What requests with the same metadata have in common. `sizes` are their inputs' bytes, -1 for BYTES.

    Attributes:
        served: whose they are.
        repeats: answers them.
        request: one of them, without inputs and id.
    """

    served: Served
    repeats: Repeats
    request: InferRequest
    rows: int
    layout: Layout
    order: list[int]
    sizes: list[int]
    counts: list[int]

    @classmethod
    def of(cls, request: InferRequest, table: Table, served: Served) -> "Repeated | None":
        """What is to be remembered of a request that was admitted; None where its like has to be looked at again."""
        repeats = served.repeats
        if repeats is None or request.places or any(tensor.raw is None for tensor in request.inputs):
            return None
        counts = [tensors.element_count(tensor.shape) for tensor in request.inputs]
        kinds = [tensors.datatype(tensor.datatype).numpy for tensor in request.inputs]
        sizes = [-1 if kind is None else count * kind.itemsize for kind, count in zip(kinds, counts, strict=True)]
        order = repeats.order([tensor.name for tensor in request.inputs])
        like = InferRequest(request.model, request.version, [], request.outputs, "", request.parameters)
        return cls(served, repeats, like, table.rows, table.layout, order, sizes, counts)

    def table(self, raws: Sequence[bytes | memoryview]) -> Table | None:
        """The columns of one of the requests, by its inputs' bytes; None where they are not as many as they should be.

        Raises:
            TensorError: an element of BYTES is cut off.
        """
        if len(raws) != len(self.sizes):
            return None
        parts: list[object] = []
        for index in self.order:
            raw, size = raws[index], self.sizes[index]
            if size < 0:
                parts.append(raw_part("BYTES", self.counts[index], raw))
            elif len(raw) == size:
                parts.append(raw)
            else:
                return None
        return Table(self.rows, self.layout, parts)
