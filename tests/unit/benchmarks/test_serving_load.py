"""The load of the serving benchmark: what it counts, and that no wrong answer passes."""

import asyncio
import json
import time
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
import torch

from benchmarks.serving.load.answers import Checker, WrongAnswer, decode
from benchmarks.serving.load.drive import Drive
from benchmarks.serving.load.echo import GrpcEcho, Http1Echo
from benchmarks.serving.load.http1 import request
from benchmarks.serving.load.plan import Form, Outcome, Plan
from benchmarks.serving.requests import INFER, make_requests
from benchmarks.serving.task.network import make_network
from headrace.contracts.oip import service_pb2 as pb

RIGHT = [1.5, -2.0]
AS_JSON = json.dumps({"model_version": "3", "outputs": [{"name": "prediction", "datatype": "FP64", "data": RIGHT}]})


def answer(values: list[float], version: str = "3") -> bytes:
    """A ModelInferResponse."""
    message = pb.ModelInferResponse(model_name="bench", model_version=version)
    message.outputs.add(name="prediction", datatype="FP64", shape=[len(values), 1])
    message.raw_output_contents.append(array("d", values).tobytes())
    return message.SerializeToString()


@asynccontextmanager
async def listening(made: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    """A server on a port."""
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def drive(port: int, form: Form, requests: list[bytes], **more: object) -> Outcome:
    """What the load sees in a tenth of a second."""
    told = {"connections": 2, "in_flight": 6, "warm_up_s": 0.0, "seconds": 0.1, "answers": [RIGHT] * 2, **more}
    plan = Plan(host="127.0.0.1", port=port, form=form, path=INFER, requests=requests, http2=form == "grpc", **told)
    load = Drive(plan)
    await load.connect()
    return await load.run(time.monotonic())


JSON_REQUESTS = [request("POST", "/infer", b'{"n": 1}'), request("POST", "/infer", b'{"n": 22}')]


async def test_http_answers_that_are_right_are_counted() -> None:
    """All of those that were sent but the last ones, and some were decoded."""
    async with listening(lambda: Http1Echo(AS_JSON.encode())) as port:
        seen = await drive(port, "json", JSON_REQUESTS, connections=3, in_flight=3)
    assert (seen.failures, seen.first_failure) == (0, "")
    assert seen.sent - 3 <= seen.answered <= seen.sent
    assert seen.answered > 20
    assert seen.decoded >= 2
    assert len(array("d", seen.took_s)) == seen.answered
    assert 0 < min(array("d", seen.took_s)) <= max(array("d", seen.took_s)) < 5


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (AS_JSON.replace("1.5", "1.6").encode(), "is right"),
        (b'{"outputs": []}', "not an answer"),
        (b"oops", "not an answer"),
    ],
)
async def test_http_answer_that_is_wrong_fails(body: bytes, why: str) -> None:
    """Whatever is wrong with it."""
    async with listening(lambda: Http1Echo(body)) as port:
        seen = await drive(port, "json", JSON_REQUESTS, connections=1, in_flight=1)
    assert seen.failures == 1
    assert why in seen.first_failure


class Raw(asyncio.Protocol):
    """Answers whatever comes with the same bytes; closes on none."""

    def __init__(self, bytes_: bytes) -> None:
        self._bytes = bytes_

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._bytes) if self._bytes else self._transport.close()


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "not status 200"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "no content-length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}{}", "more bytes"),
        (b"", "closed the connection"),
    ],
)
async def test_http_reply_that_is_no_answer_fails(reply: bytes, why: str) -> None:
    """Errors, and framing that the load does not read."""
    async with listening(lambda: Raw(reply)) as port:
        seen = await drive(port, "json", JSON_REQUESTS, connections=1, in_flight=1)
    assert why in seen.first_failure


async def test_grpc_calls_share_connections() -> None:
    """Six at once on two connections."""
    async with listening(lambda: GrpcEcho(answer(RIGHT))) as port:
        seen = await drive(port, "grpc", [b"a", b"bb"])
    assert (seen.failures, seen.first_failure) == (0, "")
    assert seen.sent - 6 <= seen.answered <= seen.sent
    assert seen.answered > 20


async def test_grpc_answer_that_is_wrong_fails() -> None:
    """By its values, and by its status."""
    async with listening(lambda: GrpcEcho(answer([1.5, -2.1]))) as port:
        assert "is right" in (await drive(port, "grpc", [b"a", b"bb"])).first_failure
    async with listening(lambda: GrpcEcho(answer(RIGHT), status=8)) as port:
        assert "gRPC status 8" in (await drive(port, "grpc", [b"a", b"bb"])).first_failure


async def test_grpc_load_speaks_with_grpcs_own_server() -> None:
    """Its flow control and its headers too: requests and answers of 8 kB fill both windows many times."""
    received: list[bytes] = []
    right = [float(n) for n in range(1000)]

    async def infer(message: bytes, _context: object) -> bytes:
        received.append(message)
        return answer(right)

    server = grpc.aio.server()
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    service = INFER.split("/")[1]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sent = [b"x" * 8000, b"y" * 9000]
    seen = await drive(port, "grpc", sent, seconds=0.3, answers=[right] * 2, connections=1, in_flight=32)
    await server.stop(0)
    assert (seen.failures, seen.first_failure) == (0, "")
    assert len(received) == seen.sent
    assert set(received) == set(sent)


@pytest.mark.parametrize("spin", [False, True])
async def test_schedule_offers_so_many_whatever_the_answers_do(spin: bool) -> None:
    """Each request that was due counts once, from when it was due."""
    async with listening(lambda: GrpcEcho(answer(RIGHT))) as port:
        seen = await drive(port, "grpc", [b"a", b"bb"], rate=500.0, spin=spin, warm_up_s=0.1, seconds=0.2)
    assert seen.failures == 0
    assert seen.answered == pytest.approx(100, abs=1)
    assert seen.sent == pytest.approx(150, abs=1)
    due = array("d", seen.due_s)
    assert max(due) - min(due) == pytest.approx(0.2, abs=0.01)


def test_right_answer_of_a_version_is_known_from_its_number() -> None:
    """Weights change under the load: a reply that names one version and has another's values is wrong."""
    checker = Checker("grpc", [RIGHT], by_version=True)
    checker.check(0, answer([RIGHT[0] + 7, RIGHT[1] + 7], "7"))
    assert checker.versions == [7]
    checker = Checker("grpc", [RIGHT], by_version=True)
    with pytest.raises(WrongAnswer, match="version 8"):
        checker.check(0, answer([RIGHT[0] + 7, RIGHT[1] + 7], "8"))


def test_answer_of_another_length_is_wrong_though_it_is_not_decoded() -> None:
    """One in a hundred is decoded; the others have a length to keep."""
    checker = Checker("grpc", [RIGHT])
    checker.check(0, answer(RIGHT))
    checker.check(0, answer(RIGHT))
    assert checker.decoded == 1
    with pytest.raises(WrongAnswer, match="bytes where"):
        checker.check(0, answer([1.5]))


def test_binary_answers_are_read_behind_their_head() -> None:
    """As v2 has it: JSON, then the tensor."""
    head = b'{"model_version":"2","outputs":[{"name":"prediction","datatype":"FP32","shape":[2,1]}]}'
    values, version = decode("binary", head + array("f", RIGHT).tobytes(), len(head))
    assert (list(values), version) == (RIGHT, 2)


@pytest.mark.parametrize("one_tensor", [False, True])
def test_requests_of_all_forms_hold_the_same_events(one_tensor: bool) -> None:
    """The same rows and the same right answers, so that figures of forms compare."""
    torch.manual_seed(0)
    network = make_network()
    made = {form: make_requests(form, network, 3, one_tensor=one_tensor) for form in ("grpc", "json", "binary")}
    assert made["grpc"].answers == made["json"].answers == made["binary"].answers
    message = pb.ModelInferRequest.FromString(made["grpc"].bodies[0])
    columns = torch.stack([torch.frombuffer(bytearray(raw), dtype=torch.float64) for raw in message.raw_input_contents])
    rows = columns.reshape(3, 12) if one_tensor else columns.T
    assert network(rows.float())[:, 0].tolist() == pytest.approx(made["grpc"].answers[0], abs=1e-6)
    body = json.loads(made["json"].bodies[0].split(b"\r\n\r\n", 1)[1])
    assert (
        torch.tensor([one["data"] for one in body["inputs"]]).flatten().tolist() == columns.float().flatten().tolist()
    )
    tail = b"".join(message.raw_input_contents)
    assert made["binary"].bodies[0].endswith(tail)
