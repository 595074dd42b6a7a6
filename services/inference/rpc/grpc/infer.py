"""ModelInfer without message objects: most requests differ from an earlier one in their data and id alone.

A ModelInferRequest in the usual order of fields is `model_name, model_version | id | parameters, inputs, outputs |
raw_input_contents`. What surrounds the id, up to the raw contents, is a request's metadata: it is parsed by protobuf
once, checked once, and remembered as a `Repeated` by its bytes. Of a request whose metadata is known only the id and
the raw contents are cut out. Any other request goes through protobuf and the model's checks.
"""

import contextlib
from collections.abc import Callable
from functools import partial

from google.protobuf.message import DecodeError

from headrace.contracts.oip import service_pb2 as pb
from headrace.contracts.oip.tensors import TensorError
from headrace.grpcserver import Call, Status
from services.inference.oip.grpc_codec import parse_infer, render_answer
from services.inference.oip.layout import Table
from services.inference.oip.messages import InferAnswer, InferRequest, InvalidRequest, OipError
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.observer import Observer, Seen
from services.inference.rpc.observe.report import Incoming
from services.inference.rpc.repeats import Repeated
from services.inference.rpc.served import Served

_NAME, _VERSION, _ID, _RAW_INPUT, _RAW_OUTPUT = 0x0A, 0x12, 0x1A, 0x3A, 0x32  # tags of the fields
_LENGTH_DELIMITED, _LAST_METADATA = 2, 6
_KNOWN, _LENGTHS = 512, 8
_Deliver = Callable[[Outcome], None]


class RawInfer:
    """A raw method, see `headrace.grpcserver`. `observer` is shown the calls."""

    def __init__(self, models: Registry, observer: Observer | None = None) -> None:
        self._models, self._observer = models, observer
        self._plans: dict[bytes, Repeated] = {}
        self._lengths: list[int] = []  # of metadata, the latest first
        self._answers: dict[tuple[object, ...], bytes] = {}

    def __call__(self, call: Call, message: bytes) -> None:
        """Answer a call, later."""
        seen = None
        if self._observer is not None:
            seen = self._observer.begin(call.header, partial(_incoming, call, message))

        def deliver(outcome: Outcome) -> None:
            if isinstance(outcome, OipError):
                _fail(call, seen, Status[outcome.grpc], outcome)
                return
            reply = self._render(outcome)
            call.reply(reply)
            if seen is not None:
                seen.answered(outcome, "OK", len(reply))

        try:
            served, job = self._planned(call, message, deliver) or self._parsed(call, message, deliver)
        except OipError as error:
            _fail(call, seen, Status[error.grpc], error)
        except DecodeError as error:
            _fail(call, seen, Status.INTERNAL, InvalidRequest(f"the message does not parse: {error}"))
        else:
            call.on_end = _Cancel(served, job, seen)
            if seen is not None:
                seen.attach(job)

    # Requests like one before.

    def _planned(self, call: Call, message: bytes, deliver: _Deliver) -> tuple[Served, Job] | None:
        try:
            head, rest = _around_id(message)
            identifier = message[head + 2 : rest].decode() if rest > head else ""
            for length in self._lengths:
                end = rest + length - head
                plan = self._plans.get(message[:head] + message[rest:end] if rest > head else message[:end])
                if plan is not None:
                    table = plan.table(_raw_contents(message, end))
                    break
            else:
                return None
        except (_Unusual, IndexError, TensorError, UnicodeDecodeError):
            return None
        if table is None:
            return None
        return plan.served, plan.repeats.resubmit(plan.request, table, deliver, identifier, call.link.peer)

    # Requests of other forms.

    def _parsed(self, call: Call, message: bytes, deliver: _Deliver) -> tuple[Served, Job]:
        request = parse_infer(pb.ModelInferRequest.FromString(message), self._models.regions)
        served, job = self._models.submit(request, deliver, call.link.peer)
        if served.repeats is not None:
            with contextlib.suppress(_Unusual, IndexError):  # not in the usual order: its like is parsed again
                self._learn(message, request, job.table, served)
        return served, job

    def _learn(self, message: bytes, request: InferRequest, table: Table, served: Served) -> None:
        head, rest = _around_id(message)
        end = _metadata_end(message, rest)
        if len(_raw_contents(message, end)) != len(request.inputs):  # inputs in shared memory have none
            return
        plan = Repeated.of(request, table, served)
        if plan is None:
            return
        if len(self._plans) >= _KNOWN:
            self._plans.clear()
        length = head + end - rest
        self._lengths = [length, *(other for other in self._lengths if other != length)][:_LENGTHS]
        self._plans[message[:head] + message[rest:end]] = plan

    # Answers.

    def _render(self, answer: InferAnswer) -> bytes:
        if answer.parameters or any(tensor.placed is not None for tensor in answer.outputs):
            return render_answer(answer).SerializeToString()
        key = (answer.model, answer.version, answer.checkpoint, *((t.name, *t.shape) for t in answer.outputs))
        start = self._answers.get(key)
        if start is None:
            whole = render_answer(answer)
            whole.ClearField("raw_output_contents")
            whole.ClearField("id")
            if len(self._answers) >= _KNOWN:
                self._answers.clear()
            start = self._answers[key] = whole.SerializeToString()
        parts = [start]
        if answer.id:
            identifier = answer.id.encode()
            parts += (b"\x1a", _varint(len(identifier)), identifier)
        for tensor in answer.outputs:
            raw = tensor.raw()
            parts += (b"\x32", _varint(len(raw)), raw)
        return b"".join(parts)


class _Cancel:
    """The caller is gone, or its deadline has passed."""

    __slots__ = ("_job", "_seen", "_served")

    def __init__(self, served: Served, job: Job, seen: Seen | None) -> None:
        self._served, self._job, self._seen = served, job, seen

    def __call__(self, status: Status) -> None:
        self._served.cancel(self._job)
        if self._seen is not None:
            self._seen.cancelled(status.name)


def _fail(call: Call, seen: Seen | None, status: Status, error: OipError) -> None:
    call.fail(status, str(error))
    if seen is not None:
        seen.answered(error, status.name, 0)


def _incoming(call: Call, message: bytes) -> Incoming:
    said = ("", "", "")
    with contextlib.suppress(DecodeError):
        request = pb.ModelInferRequest.FromString(message)
        said = request.model_name, request.model_version, request.id
    return Incoming("grpc", "ModelInfer", call.link.peer, len(message), *said)


class _Unusual(Exception):  # noqa: N818 - not an error: another way of writing the same message
    """The message is not in the usual order of fields."""


def _around_id(message: bytes) -> tuple[int, int]:
    """Where the id field begins, and where what follows it does; the same where there is none."""
    start = _after(message, _after(message, 0, _NAME), _VERSION)
    return start, _after(message, start, _ID)


def _after(message: bytes, at: int, tag: int) -> int:
    """Where a field of fewer than 128 bytes ends; the same place where another field is there."""
    if message[at] != tag:
        return at
    if message[at + 1] >= 0x80:
        raise _Unusual
    return at + 2 + message[at + 1]


def _metadata_end(message: bytes, at: int) -> int:
    """Where the first field beyond the metadata begins."""
    while message[at] >> 3 <= _LAST_METADATA:
        if message[at] & 7 != _LENGTH_DELIMITED or message[at] in (_NAME, _VERSION, _ID):
            raise _Unusual
        size, at = _read_varint(message, at + 1)
        at += size
    return at


def _raw_contents(message: bytes, at: int) -> list[bytes]:
    """The raw contents from a place on, which nothing may follow."""
    found, end = [], len(message)
    while at < end:
        if message[at] != _RAW_INPUT:
            raise _Unusual
        size = message[at + 1]
        at += 2
        if size >= 0x80:
            size, at = _read_varint(message, at - 1)
        found.append(message[at : at + size])
        at += size
    if at != end:
        raise _Unusual
    return found


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _Unusual


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)
