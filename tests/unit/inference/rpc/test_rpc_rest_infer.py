"""Infer over REST from uvicorn's parser: the same answers as the framework's route gives, and gRPC's bytes."""

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.runtime.web import WebServer
from services.inference.oip.messages import InferRequest, OipError
from services.inference.oip.rest_codec import parse_infer, render_answer
from services.inference.rpc.batching.jobs import Job
from services.inference.rpc.control.operations import alone
from services.inference.rpc.grpc.infer import RawInfer
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.rest.app import create_app
from services.inference.rpc.rest.infer import _Request, protocol_for
from tests.patience import WAIT_S, eventually
from tests.unit.inference.rpc.test_rpc_batching import World
from tests.unit.inference.rpc.test_rpc_raw_infer import by_bytes, message

INFER = "/v2/models/parts/infer"
BODY = {
    "inputs": [
        {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [1.5]},
        {"name": "key", "datatype": "BYTES", "shape": [1, 1], "data": ["k"]},
    ]
}


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[tuple[World, int]]:
    world = World(**limits)
    app = create_app(Registry([world.plane]), alone(Registry([world.plane])))
    web = WebServer(app, "127.0.0.1", 0, grace_s=1.0, protocol=protocol_for(Registry([world.plane])), edge=None)
    task = asyncio.create_task(web.serve())
    await eventually(lambda: web._server.started)
    try:
        yield world, int(web.url.rsplit(":", 1)[1])
    finally:
        web.stop()
        await task
        world.plane.close()


def post(body: bytes, path: str = INFER, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: here", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(WAIT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def test_the_lean_way_and_the_framework_answer_the_same() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        bad = {"inputs": [{**BODY["inputs"][0], "shape": [2, 1]}, BODY["inputs"][1]]}
        for body, path, status in (
            (json.dumps(BODY).encode(), INFER, 200),
            (json.dumps({**BODY, "id": "7"}).encode(), "/v2/models/parts/versions/1/infer", 200),
            (json.dumps(bad).encode(), INFER, 400),
            (b"{", INFER, 400),
            (json.dumps(BODY).encode(), "/v2/models/nope/infer", 404),
            (json.dumps(BODY).encode(), "/v2/models/parts/versions/x/infer", 400),
        ):
            answers = []
            for query in ("", "?plain=no"):  # a query is not the plain case
                writer.write(post(body, path + query))
                code, headers, content = await response(reader)
                assert (code, headers["content-type"]) == (status, "application/json")
                answers.append(content)
            assert answers[0] == answers[1]
        writer.close()


async def test_pipelined_and_cut_requests_are_answered_in_order() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        bodies = [json.dumps({**BODY, "id": str(i)}).encode() for i in range(6)]
        data = b"".join(post(body) for body in bodies[:3]) + b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
        data += b"".join(post(body) for body in bodies[3:])
        for at in range(0, len(data), 97):
            writer.write(data[at : at + 97])
            await writer.drain()
        answers = [await response(reader) for _ in range(7)]
        identifiers = [json.loads(body)["id"] if body else "" for _, _, body in answers]
        assert identifiers == ["0", "1", "2", "", "3", "4", "5"]
        writer.close()


async def test_a_client_that_leaves_is_not_executed_for_and_an_overload_says_when_to_come_back() -> None:
    async with serving(max_waiting=1) as (world, port):
        world.model.gate = threading.Event()
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        (first, gone, refused) = connections
        first[1].write(post(json.dumps(BODY).encode()))
        await asyncio.to_thread(world.model.entered.wait, WAIT_S)
        gone[1].write(post(json.dumps(BODY).encode()))
        await eventually(lambda: world.plane.waiting == 1)
        refused[1].write(post(json.dumps(BODY).encode()))
        status, headers, body = await response(refused[0])
        assert (status, headers["retry-after"]) == (503, "1")
        assert "maximum queue size" in json.loads(body)["error"]
        gone[1].close()
        await eventually(lambda: world.plane.waiting == 0)
        world.model.gate.set()
        assert (await response(first[0]))[0] == 200
        assert world.model.sizes == [1]
        for _, writer in connections:
            writer.close()
            await writer.wait_closed()


ELEMENTS = st.one_of(
    st.floats(-9, 9),
    st.integers(-(2**64), 2**64),
    st.none(),
    st.booleans(),
    st.sampled_from(["k", "", "ünï", "explode"]),
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "key", "note", "parts", "nope"]),
        "datatype": st.sampled_from(["FP64", "FP64", "BYTES", "BYTES", "INT64"]),
        "shape": st.sampled_from([[1], [1, 1], [2, 1], [2], [0], [0, 1], [1.0], [True], [], [1, 2], "1"]),
        "data": st.one_of(st.lists(ELEMENTS, max_size=2), st.just([[1.5]]), st.just(1.5), st.just("k")),
    },
    optional={"parameters": st.just({}), "more": st.just(1)},
)
USUAL = st.builds(
    lambda x, key, note: [
        {"name": "x", "datatype": "FP64", "shape": [len(x), 1], "data": x},
        {"name": "key", "datatype": "BYTES", "shape": [len(x)], "data": [key] * len(x)},
        {"name": "note", "datatype": "BYTES", "shape": [len(x), 1], "data": [note] * len(x)},
    ],
    st.lists(st.one_of(st.floats(-9, 9), st.integers(-9, 9)), max_size=3),
    st.sampled_from(["k", ""]),
    st.sampled_from([None, "n", "explode"]),
)


@settings(max_examples=150)
@given(inputs=st.one_of(USUAL, st.lists(TENSOR, max_size=4), st.tuples(USUAL, TENSOR).map(lambda t: [*t[0], t[1]])))
def test_plain_json_is_understood_as_json_is_in_general(inputs: list[Any]) -> None:
    async def run() -> None:
        world = World()
        body = orjson.dumps({"inputs": inputs}) if _fits(inputs) else json.dumps({"inputs": inputs}).encode()

        async def answer(**options: Any) -> Any:
            try:
                request, binary = parse_infer("parts", "", body, None, world.plane.inputs, **options)
                return render_answer(await world.plane.infer(request), binary)
            except OipError as error:
                return type(error), str(error)

        assert await answer(plain=world.plane.plain_json) == await answer()
        world.plane.close()

    asyncio.run(run())


def _fits(inputs: Any) -> bool:
    try:
        orjson.dumps(inputs)
    except TypeError:
        return False
    return True


async def test_grpc_json_and_binary_give_the_same_bytes() -> None:
    world = World()
    by_grpc = await by_bytes(RawInfer(Registry([world.plane])), message(3))
    inputs = [{"name": "x", "datatype": "FP64", "shape": [3, 1], "data": [1.5] * 3}]
    inputs.append({"name": "key", "datatype": "BYTES", "shape": [3, 1], "data": ["k"] * 3})
    as_json = orjson.dumps({"inputs": inputs})
    raw = np.full(3, 1.5).tobytes()
    sized = {"name": "x", "datatype": "FP64", "shape": [3, 1], "parameters": {"binary_data_size": len(raw)}}
    header = orjson.dumps({"inputs": [sized, inputs[1]], "parameters": {"binary_data_output": True}})

    async def ask(body: bytes, length: str | None) -> tuple[InferRequest, bytes, int | None]:
        plain = world.plane.plain_json
        request, binary = parse_infer("parts", "", body, length, world.plane.inputs, plain=plain)
        return request, *render_answer(await world.plane.infer(request), binary)

    request, content, _ = await ask(as_json, None)
    assert request.table is not None
    _, answer, length = await ask(header + raw, str(len(header)))
    assert answer[length:] == b"".join(by_grpc.raw_output_contents)
    scores = next(o["data"] for o in json.loads(content)["outputs"] if o["name"] == "score")
    assert np.array(scores).tobytes() == by_grpc.raw_output_contents[1]
    world.plane.close()


async def test_requests_are_freed_without_the_garbage_collector() -> None:
    bodies = (json.dumps(BODY).encode(), b"{", json.dumps({**BODY, "parameters": {"timeout": 60_000_000}}).encode())
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        gc.collect()
        gc.disable()
        try:
            for body in bodies * 20:
                writer.write(post(body))
                await response(reader)
            left = [type(one).__name__ for one in gc.get_objects() if type(one) in (_Request, Job)]
        finally:
            gc.enable()
        assert len(left) <= 2, left  # the connection keeps its last request, and that its job
        writer.close()
