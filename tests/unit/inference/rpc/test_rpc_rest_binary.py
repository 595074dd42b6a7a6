"""The binary extension where only bytes and id differ from a request before: the same answers as the general way's."""

import asyncio
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.rpc.rest.binary import BinaryRequests
from tests.unit.inference.rpc.test_rpc_rest_infer import INFER, post, response, serving

KEY = "key"
HEADERS = {"accept_encoding": "identity"}


def packed(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)


def binary(xs: list[float], keys: list[str], *, separators: Any = None, **more: Any) -> tuple[bytes, int]:
    """A body as tritonclient makes it, and where its JSON ends."""
    parts = [struct.pack(f"<{len(xs)}d", *xs), packed(keys)]
    shapes = (("x", "FP64", len(xs)), (KEY, "BYTES", len(keys)))
    inputs = [
        {"name": name, "shape": [rows, 1], "datatype": datatype, "parameters": {"binary_data_size": len(part)}}
        for (name, datatype, rows), part in zip(shapes, parts, strict=True)
    ]
    name = more.pop("id", "")
    identifier = {"id": name} if name else {}
    parameters = {"binary_data_output": True, **more.pop("parameters", {})}
    head = json.dumps(
        {**identifier, "inputs": inputs, "parameters": parameters, **more}, separators=separators
    ).encode()
    return b"".join([head, *parts]), len(head)


REQUESTS = st.tuples(
    st.lists(st.floats(-9, 9), min_size=1, max_size=3),
    st.sampled_from(["", "7", "a-b", 'q"uote', "ünï"]),
    st.sampled_from([{}, {"priority": 1}, {"binary_data_output": False}, {"timing": True}]),
    st.sampled_from([None, (",", ":")]),
    st.sampled_from([{}, {"outputs": [{"name": "score", "parameters": {"binary_data": True}}, {"name": "text"}]}]),
)


@settings(max_examples=10, deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=12))
def test_the_answers_are_those_of_the_general_way(requests: list[Any]) -> None:
    async def run() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for xs, identifier, parameters, separators, more in requests:
                body, at = binary(
                    xs, [f"k{x}" for x in xs], id=identifier, parameters=parameters, separators=separators, **more
                )
                answers = []
                for query in ("?plain=no", "", ""):  # the framework's way knows no request before
                    writer.write(post(body, INFER + query, inference_header_content_length=str(at), **HEADERS))
                    code, headers, content = await response(reader)
                    assert code == 200, content
                    at_answer = int(headers.get("inference-header-content-length", len(content)))
                    head = json.loads(content[:at_answer])
                    timed = "total_ns" in head["parameters"]
                    head["parameters"] = {"checkpoint": head["parameters"]["checkpoint"]}
                    answers.append((list(head), head, content[at_answer:], timed, headers["content-type"]))
                assert answers[0] == answers[1] == answers[2]
                assert answers[0][1].get("id", "") == identifier
            writer.close()

    asyncio.run(run())


async def test_a_request_like_one_before_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []
    find = BinaryRequests.find
    monkeypatch.setattr(BinaryRequests, "find", lambda *args: found.append((known := find(*args)) is not None) or known)
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for xs, key, identifier in (
            ([1.0], "a", "1"), ([2.0], "b", "2"), ([2.0], "b", ""), ([3.0], "c", ""), ([2.0], "longer", "3"),
            ([1.0, 2.0], "a", "4"), ([3.0], "d", "5"),
        ):  # fmt: skip
            body, at = binary(xs, [key] * len(xs), id=identifier)
            writer.write(post(body, inference_header_content_length=str(at), **HEADERS))
            assert (await response(reader))[0] == 200
        writer.close()
    assert found == [False, True, False, True, False, False, True]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda body, at: (body + b"x", at), 400),
        (lambda body, at: (body[:-1], at), 400),
        (lambda body, at: (body, at - 1), 400),
        (lambda body, at: (body[:-5] + b"\xff\0\0\0k", at), 400),
        (lambda body, at: (body.replace(b'"x"', b'"y"'), at), 400),
        (lambda body, at: (body.replace(b'"id": "1", ', b'"id": "1", "id": 5, '), at + 9), 400),
        (lambda body, at: (body, at), 200),
    ],
)
async def test_what_differs_in_more_than_bytes_and_id_is_judged_as_ever(change: Any, status: int) -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body, at = binary([1.0], ["k"], id="1")
        for sent, where, wanted in ((body, at, 200), (*change(body, at), status)):
            for query in ("", "?plain=no"):
                writer.write(post(sent, INFER + query, inference_header_content_length=str(where), **HEADERS))
                code, _, content = await response(reader)
                assert code == wanted, content
        writer.close()


async def test_a_model_that_is_unloaded_answers_no_request_that_is_like_one_before() -> None:
    async with serving() as (world, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body, at = binary([1.0], ["k"])
        for loaded, wanted in ((True, 200), (False, 404), (True, 200)):
            await (world.plane.load({}) if loaded else world.plane.unload())
            writer.write(post(body, inference_header_content_length=str(at), **HEADERS))
            assert (await response(reader))[0] == wanted
        writer.close()
