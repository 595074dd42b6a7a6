"""HTTP/2 as peers speak it, well and badly, frame by frame."""

import asyncio
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.grpcserver import frames
from headrace.grpcserver.frames import ErrorCode, Setting, frame
from headrace.grpcserver.headers import HeaderDecoder, changes_table, literal
from tests.patience import eventually
from tests.unit.grpcserver.wire import HEADERS, Peer

MESSAGES = [b"", b"a", b"abc" * 100, bytes(range(256)) * 40]


@given(cuts=st.lists(st.integers(0, 12_000), max_size=30))
def test_answers_do_not_depend_on_how_the_bytes_were_cut(cuts: list[int]) -> None:
    async def run() -> None:
        peer = Peer()
        data = frames.PREFACE + frames.settings({}) + b"".join(peer.call(m) for m in MESSAGES)
        edges = [0, *sorted(c for c in cuts if c < len(data)), len(data)]
        for start, end in itertools.pairwise(edges):
            peer.send(data[start:end])
        assert await peer.answers() == {1 + 2 * i: m[::-1] for i, m in enumerate(MESSAGES)}

    asyncio.run(run())


@given(noise=st.binary(max_size=400), kind=st.integers(0, 12), flags=st.integers(0, 255), stream=st.integers(0, 9))
def test_no_bytes_break_more_than_their_connection(noise: bytes, kind: int, flags: int, stream: int) -> None:
    async def run() -> None:
        for data in (noise, frame(kind, flags, stream, noise), frame(kind, flags, stream, noise) + noise):
            peer = Peer()
            peer.greet()
            peer.send(peer.call(b"abc"))
            peer.send(data)
            if not peer.socket.closed:
                peer.send(noise)
            assert (await peer.answers()).get(1) == b"cba"

    asyncio.run(run())


async def test_an_answer_waits_for_the_windows_that_the_peer_grants() -> None:
    message = bytes(range(200))
    peer = Peer()
    peer.greet((Setting.INITIAL_WINDOW_SIZE, 7))
    peer.send(peer.call(message))
    assert await peer.answers() == {}
    for _ in range(9):
        peer.send(frames.window_update(1, 20))
    assert await peer.answers() == {}
    peer.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000}))  # open streams gain by it too
    assert await peer.answers() == {1: message[::-1]}


async def test_the_connections_window_is_shared_by_its_streams() -> None:
    peer = Peer()
    peer.greet((Setting.INITIAL_WINDOW_SIZE, 1 << 20), (Setting.MAX_FRAME_SIZE, 1 << 20))
    for _ in range(3):
        peer.send(peer.call(bytes(40_000)))
    sent = sum(len(f.payload) for f in await peer.sent() if f.kind == frames.DATA)
    assert sent == frames.DEFAULT_WINDOW
    peer.send(frames.window_update(0, 1 << 20))
    assert {stream: len(m) for stream, m in (await peer.answers()).items()} == {1: 40_000, 3: 40_000, 5: 40_000}


async def test_headers_in_pieces_padding_priority_and_unknown_frames_are_understood() -> None:
    peer = Peer()
    peer.greet()
    block = bytes(4) + b"\x10" + peer.block()  # five bytes of priority before
    flags = frames.PADDED | frames.HAS_PRIORITY
    peer.send(frame(frames.HEADERS, flags, 1, b"\x03" + block[:20] + bytes(3)))
    peer.send(frame(frames.CONTINUATION, 0, 1, block[20:30]))
    peer.send(frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[30:]))
    peer.send(frame(200, 0, 1, b"what is this"), frame(frames.PRIORITY, 0, 1, bytes(5)))
    data = struct.pack(">BI", 0, 3) + b"abc"
    peer.send(frame(frames.DATA, frames.END_STREAM | frames.PADDED, 1, bytes((2,)) + data + b"\0\0"))
    assert await peer.answers() == {1: b"cba"}
    peer.send(frame(frames.PING, 0, 0, b"12345678"))
    assert (await peer.sent())[-1] == (frames.PING, frames.ACK, 0, b"12345678")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(frames.DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
        (frame(frames.DATA, 0, 2, b"x"), ErrorCode.STREAM_CLOSED),
        (b"\xff\xff\xff" + bytes(6), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.settings({Setting.MAX_FRAME_SIZE: 100}), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, frames.MAX_WINDOW), ErrorCode.FLOW_CONTROL_ERROR),
        (frame(frames.PING, 0, 0, b"1"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.PUSH_PROMISE, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frames.rst_stream(1, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.CONTINUATION, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.HEADERS, 0, 1) + frame(frames.PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\x7f"), ErrorCode.COMPRESSION_ERROR),
        (frame(frames.HEADERS, frames.END_HEADERS, 2, b"\x82"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.HEADERS, frames.PADDED, 1, b"\x09x"), ErrorCode.PROTOCOL_ERROR),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection_with_its_code(data: bytes, code: ErrorCode) -> None:
    peer = Peer()
    peer.greet()
    peer.send(data)
    assert await peer.fault() == code


async def test_headers_without_end_are_cut_off() -> None:
    peer = Peer()
    peer.greet()
    peer.send(frame(frames.HEADERS, 0, 1, b"\x82"))
    for _ in range(20):
        if not peer.socket.closed:
            peer.send(frame(frames.CONTINUATION, 0, 1, bytes(16_000)))
    assert await peer.fault() == ErrorCode.ENHANCE_YOUR_CALM


async def test_a_peer_that_opens_and_cancels_without_end_is_cut_off() -> None:
    peer = Peer(max_cancelled=100)
    peer.greet()
    for _ in range(101):
        peer.send(peer.call(b"", "/test.Echo/Later"), frames.rst_stream(peer.stream, ErrorCode.CANCEL))
    assert await peer.fault() == ErrorCode.ENHANCE_YOUR_CALM
    assert all(call.ended for call in peer.later)


async def test_calls_beyond_the_limit_are_refused_and_may_be_tried_elsewhere() -> None:
    peer = Peer(max_calls=2)
    peer.greet()
    for _ in range(3):
        peer.send(peer.call(b"", "/test.Echo/Later"))
    assert (await peer.sent())[-1] == (frames.RST_STREAM, 0, 5, struct.pack(">I", ErrorCode.REFUSED_STREAM))
    peer.later[0].reply(b"x")
    peer.send(peer.call(b"ab"))
    assert (await peer.answers())[7] == b"ba"


async def test_unfinished_messages_of_a_connection_are_bounded_together() -> None:
    peer = Peer(max_unfinished_bytes=1000)
    peer.greet()
    for stream in (1, 3, 5):
        start = frame(frames.HEADERS, frames.END_HEADERS, stream, peer.block())
        peer.send(start, frame(frames.DATA, 0, stream, struct.pack(">BI", 0, 5000) + bytes(400)))
    failed = [f for f in await peer.sent() if f.kind == frames.HEADERS]
    assert [f.stream for f in failed] == [5]
    assert literal("grpc-status", "8") in failed[0].payload
    for stream in (1, 3):
        peer.send(frames.rst_stream(stream, ErrorCode.CANCEL))
    assert peer.connection._unfinished == 0


async def test_more_data_than_the_window_is_a_fault() -> None:
    peer = Peer(stream_window=100)
    peer.greet()
    peer.send(frame(frames.HEADERS, frames.END_HEADERS, 1, peer.block()), frame(frames.DATA, 0, 1, bytes(101)))
    assert await peer.fault() == ErrorCode.FLOW_CONTROL_ERROR


async def test_a_message_larger_than_the_window_comes_through_because_the_window_is_granted_anew() -> None:
    peer = Peer(stream_window=100)
    peer.greet()
    message = bytes(range(250))
    data = struct.pack(">BI", 0, len(message)) + message
    peer.send(frame(frames.HEADERS, frames.END_HEADERS, 1, peer.block()))
    for at in range(0, len(data), 100):
        end = frames.END_STREAM if at + 100 >= len(data) else 0
        peer.send(frame(frames.DATA, end, 1, data[at : at + 100]))
    assert await peer.answers() == {1: message[::-1]}
    granted = [f for f in await peer.sent() if f.kind == frames.WINDOW_UPDATE and f.stream == 1]
    assert sum(struct.unpack(">I", f.payload)[0] for f in granted) == 200


async def test_a_peer_that_reads_no_answers_is_cut_off() -> None:
    peer = Peer(write_timeout_s=0.01)
    peer.greet()
    peer.connection.pause_writing()
    assert peer.socket.paused
    await eventually(lambda: peer.socket.aborted)


async def test_a_peer_that_reads_again_is_not() -> None:
    peer = Peer(write_timeout_s=0.01)
    peer.greet()
    peer.connection.pause_writing()
    peer.connection.resume_writing()
    assert peer.connection._timer is None
    assert not peer.socket.paused


async def test_whoever_speaks_no_http2_or_nothing_is_cut_off() -> None:
    peer = Peer()
    peer.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert await peer.fault() == ErrorCode.PROTOCOL_ERROR
    silent = Peer(preface_timeout_s=0.01)
    await eventually(lambda: silent.socket.aborted)


async def test_requests_that_are_no_grpc_are_answered_as_http() -> None:
    peer = Peer()
    peer.greet()
    get = peer.encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/")])
    peer.send(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, get))
    json = [(n, "application/json" if n == "content-type" else v) for n, v in HEADERS]
    peer.send(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 3, peer.encoder.encode(json)))
    answers = {f.stream: f.payload for f in await peer.sent() if f.kind == frames.HEADERS}
    assert answers[1].startswith(b"\x8d")
    assert answers[3] == literal(":status", "415")


@given(
    names=st.lists(st.sampled_from(["a", "grpc-timeout", "x-long" * 30]), max_size=4),
    values=st.lists(st.text("abcdefgh0123 /", max_size=200), min_size=4, max_size=4),
)
def test_remembered_blocks_mean_the_same_as_decoded_ones(names: list[str], values: list[str]) -> None:
    decoder = HeaderDecoder(1 << 16)
    block = b"\x82" + b"".join(literal(n, v) for n, v in zip(names, values, strict=False))
    assert not changes_table(block)
    wanted = ((":method", "GET"), *zip(names, values, strict=False))
    assert decoder.decode(block) == wanted
    assert decoder.decode(block) == wanted
    indexing = b"\x40" + literal("k", "v")[1:]
    assert changes_table(indexing)
    assert decoder.decode(indexing) == (("k", "v"),)
    assert decoder.decode(b"\xbe") == (("k", "v"),)  # the newest entry
    assert decoder.decode(b"\x40" + literal("k", "w")[1:]) == (("k", "w"),)
    assert decoder.decode(b"\xbe") == (("k", "w"),)  # the same block, of another table
