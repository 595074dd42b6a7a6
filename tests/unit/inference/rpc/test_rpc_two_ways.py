"""The lean way and the framework's, given the same hostile requests: the same answers, never a 500."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference.oip import rest_codec
from services.inference.rpc.rest import bodies, infer
from tests.unit.inference.rpc.test_rpc_rest_infer import BODY, INFER, response, serving

GOOD = json.dumps(BODY).encode()
RAW = b"\0\0\0\0\0\0\xf8?"


def framed(values: list[bytes]) -> bytes:
    return b"".join(len(v).to_bytes(4, "little") + v for v in values)


def binary(shape: Any, x: bytes, key: bytes, claim: int, datatypes: tuple[str, str]) -> tuple[bytes, int]:
    """A body of the binary extension and the length of its JSON; `claim` is what is added to the sizes."""
    inputs = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data) + claim}}
        for name, datatype, data in (("x", datatypes[0], x), ("key", datatypes[1], key))
    ]
    header = json.dumps({"inputs": inputs}).encode()
    return header + x + key, len(header)


BYTES = st.one_of(
    st.lists(st.binary(max_size=5), max_size=3).map(framed),
    st.binary(max_size=12),
    st.sampled_from([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7fk", b"\5\0\0\0k", b"\1\0\0\0", b"\1\0\0\0\xff"]),
)
SHAPES = st.one_of(
    st.lists(st.integers(-2, 3), max_size=3),
    st.sampled_from([[1, 1], [1], [2**63, 1], [2**62, 4], [-1, 1], [2**64, 1], [1e3, 1], ["1", 1], None, {}, [[1], 1]]),
)
DATATYPES = st.tuples(
    st.sampled_from(["FP64", "FP32", "INT64", "BYTES", "", "fp64"]), st.sampled_from(["BYTES", "FP64"])
)
BINARY = st.builds(
    binary, SHAPES, st.sampled_from([RAW, RAW * 2, RAW[:7], b"", b"\xff" * 8]), BYTES,
    st.sampled_from([0, 0, 1, -1, 2**70]),
    DATATYPES,
)  # fmt: skip
TEXTS = (
    b"[" * 3000, b'{"inputs":' + b"[" * 3000, b'{"inputs":[],"inputs":1}', b'{"id":"\\ud800","inputs":[]}', b"\xff",
    GOOD.replace(b"1.5", b"NaN"), GOOD.replace(b"1.5", b"1e999"), GOOD.replace(b"1.5", b"9" * 5000),
    GOOD.replace(b"[1.5]", b"[" * 500 + b"1.5" + b"]" * 500), GOOD.replace(b'"k"', b'"\\ud800"'),
    GOOD.replace(b'"k"', b'"\xff"'), GOOD.replace(b'"k"', b'"\\u0000"'), GOOD.replace(b"{", b'{"id":7,', 1),
    GOOD.replace(b"{", b'{"parameters":{"priority":1e400},', 1),
    GOOD.replace(b"{", b'{"parameters":{"timeout":-1,"priority":99999999999999999999},', 1),
    GOOD.replace(b"{", b'{"parameters":{"sequence_id":{},"binary_data_output":"yes"},', 1),
    GOOD.replace(b"{", b'{"outputs":[{"name":"score","parameters":{"classification":3}}],', 1),
    GOOD.replace(b"{", b'{"outputs":[{"name":"score"},{"name":"score"}],', 1),
    GOOD.replace(b"{", b'{"id":"a","id":"b",', 1),
    GOOD.replace(b'"shape": [1, 1]', b'"shape": [1, 1], "shape": [2]', 1),
    gzip.compress(GOOD), zlib.compress(GOOD), gzip.compress(GOOD)[:-3], gzip.compress(GOOD) * 2, b"", GOOD,
)  # fmt: skip
LENGTHS = st.one_of(
    st.integers(-3, 200).map(str),
    st.sampled_from(["", "0", "-0", "+5", "1e2", "0x10", "5" * 5000, "1 2", "\xb2", "nan", "00"]),
)
PRINTED = st.characters(min_codepoint=33, max_codepoint=255, exclude_categories=["Cc"])
CODINGS = ["gzip", "deflate", "identity", "br", "GZIP", "gzip, gzip", ""]
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just("inference-header-content-length"), LENGTHS),
        st.tuples(st.just("content-encoding"), st.sampled_from(CODINGS)),
        st.tuples(st.just("accept-encoding"), st.sampled_from(["gzip", "deflate", "br", "gzip;q=0", "*", "\xff"])),
        st.tuples(st.just("content-type"), st.sampled_from(["", "text/html", "application/octet-stream"])),
        st.tuples(st.just("traceparent"), st.text(PRINTED, max_size=60)),
    ),
    max_size=3,
)  # fmt: skip


def asked(body: bytes, headers: list[tuple[str, str]], path: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: here", f"content-length: {len(body)}", *(f"{n}: {v}" for n, v in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@settings(max_examples=10, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.one_of(BINARY, st.sampled_from(TEXTS)), HEADERS), min_size=10, max_size=25))
def test_both_answer_the_same(requests: list[tuple[Any, list[tuple[str, str]]]]) -> None:
    async def run() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for sent, headers in requests:
                body, length = sent if isinstance(sent, tuple) else (sent, None)
                of_length = [] if length is None else [("inference-header-content-length", str(length))]
                answers = []
                for query in ("", "?plain=no"):  # a query is not the plain case
                    writer.write(asked(body, headers + of_length, INFER + query))
                    status, said, content = await response(reader)
                    assert status < 500 or status == 501, (sent, headers, content)
                    answers.append((status, content, said.get("content-encoding"), said["content-type"]))
                assert answers[0] == answers[1], (sent, headers)
            writer.write(asked(GOOD, [], INFER))
            assert (await response(reader))[0] == 200
            writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("query", ["", "?plain=no"])
async def test_a_body_that_grows_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    for module in (rest_codec, bodies, infer):
        monkeypatch.setattr(module, "MAX_BODY", 1 << 16)
    bomb = gzip.compress(b" " * (1 << 24))
    for body, headers in ((bomb, [("content-encoding", "gzip")]), (b" " * (1 << 17), [])):
        async with serving() as (world, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(asked(body, headers, INFER + query))
            status, _, content = await response(reader)
            assert (status, b"65536 bytes" in content) == (400, True), content
            assert world.plane.waiting == 0
            writer.close()


@pytest.mark.parametrize(
    "lie",
    [
        "content-length: 5\r\ncontent-length: 6", "content-length: -1", "content-length: 99999999999999999999999",
        "content-length: 0x5", "content-length: 5, 5", "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, chunked", "x: \0", "content-length: 5\r\n x: folded", ": none",
    ],
)  # fmt: skip
async def test_a_connection_that_lies_is_closed_and_the_others_go_on(lie: str) -> None:
    async with serving() as (world, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {INFER} HTTP/1.1\r\nhost: x\r\n{lie}\r\n\r\n".encode() + GOOD)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
        assert b" 500 " not in answer.split(b"\r\n")[0], answer
        assert b" 200 " not in answer.split(b"\r\n")[0], answer
        good, other = await asyncio.open_connection("127.0.0.1", port)
        other.write(asked(GOOD, [], INFER))
        assert (await response(good))[0] == 200
        assert world.plane.waiting == 0
        other.close()
        writer.close()
