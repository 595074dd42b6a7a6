"""Requests of the binary extension of which only bytes and id differ from those before.

The JSON of such a request is known: it is neither parsed nor checked again, and its inputs are cut out of the body by
the sizes that it names.
"""

import itertools
import re
from typing import NamedTuple

from headrace.contracts.oip.tensors import TensorError
from services.inference.oip.layout import Table
from services.inference.oip.messages import InferRequest
from services.inference.oip.rest_codec import BinaryOutputs
from services.inference.rpc.repeats import Repeated
from services.inference.rpc.served import Served

_KNOWN = 512
_LONGEST = 1 << 14  # bytes of JSON that are remembered
_UNUSUAL = re.compile(rb'shared_memory|"id"\s*:|\\')
"""Inputs that are elsewhere, a second id, and keys that are written in another way."""
_ID = re.compile(rb'\{"id": ?"([A-Za-z0-9_.:/-]{0,64})", ?')


class _Plan(NamedTuple):
    """`ends` are where each input's bytes end, from the first byte behind the JSON."""

    repeated: Repeated
    outputs: BinaryOutputs
    ends: list[int]


class Known(NamedTuple):
    """A request that is like one before."""

    repeated: Repeated
    outputs: BinaryOutputs
    table: Table
    id: str


class Admitted(NamedTuple):
    """What became of a request."""

    table: Table
    served: Served


class BinaryRequests:
    """Remembers the JSON of requests. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, str, bytes], _Plan] = {}

    def find(self, model: str, version: str, body: bytes, length: str) -> Known | None:
        """A request as one like it was understood; None where there was none, or its bytes do not add up."""
        at = int(length) if length.isascii() and length.isdecimal() and len(length) < 8 else 0
        if not 0 < at <= _LONGEST:
            return None
        identifier, rest = _split(body[:at])
        plan = self._plans.get((model, version, rest))
        if plan is None or len(body) - at != plan.ends[-1]:
            return None
        view, raws, start = memoryview(body), [], at
        for end in plan.ends:
            raws.append(view[start : at + end])
            start = at + end
        try:
            table = plan.repeated.table(raws)
        except TensorError:  # the general way says whose
            return None
        return None if table is None else Known(plan.repeated, plan.outputs, table, identifier)

    def learn(self, request: InferRequest, outputs: BinaryOutputs, body: bytes, *, at: int, job: Admitted) -> None:
        """Remember a request that was admitted, if its like may be understood by its bytes alone."""
        identifier, rest = _split(body[:at])
        if not 0 < at <= _LONGEST or identifier != request.id or _UNUSUAL.search(rest):
            return
        repeated = Repeated.of(request, job.table, job.served)
        if repeated is None:
            return
        ends = list(itertools.accumulate(len(tensor.raw or b"") for tensor in request.inputs))
        if ends[-1] != len(body) - at:
            return
        if len(self._plans) >= _KNOWN:
            self._plans.clear()
        self._plans[request.model, request.version, rest] = _Plan(repeated, outputs, ends)


def _split(header: bytes) -> tuple[str, bytes]:
    """The id of a request's JSON, where it is plain and comes first, and the rest of the JSON."""
    found = _ID.match(header)
    return ("", header) if found is None else (found[1].decode(), header[found.end() :])
