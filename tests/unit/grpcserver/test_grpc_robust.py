"""The server under large messages, TLS, uvloop, hostile frames and methods that raise."""

import asyncio
import os
import ssl
import struct
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.grpcserver import Call, GrpcServer, frames
from headrace.grpcserver.frames import ErrorCode, Setting, frame
from tests.patience import eventually
from tests.unit.grpcserver.echo import Echo, client, method, serving
from tests.unit.grpcserver.wire import Peer

KINDS = st.integers(0, 10)
PAYLOADS = st.one_of(st.binary(max_size=40), st.sampled_from([bytes(4), bytes(5), bytes(8), b"\0\4\0\0\0\1", b"\x82"]))
FRAMES = st.tuples(KINDS, st.integers(0, 63), st.integers(0, 12), PAYLOADS)


@settings(max_examples=300)
@given(sequence=st.lists(FRAMES, max_size=12), opened=st.integers(0, 3))
def test_a_connection_answers_any_frames_or_ends_as_the_rfc_says(
    sequence: list[tuple[int, int, int, bytes]], opened: int
) -> None:
    async def run() -> None:
        peer = Peer()
        peer.greet()
        for _ in range(opened):
            peer.send(peer.call(b"x", "/test.Echo/Later"))
        for kind, flags, stream, payload in sequence:
            if peer.socket.closed:
                break
            peer.send(frame(kind, flags, stream, payload))
        if peer.socket.closed:
            code = await peer.fault()
            assert code is not ErrorCode.NO_ERROR
            assert code is not ErrorCode.INTERNAL_ERROR
        else:
            for call in peer.later:
                call.reply(b"y")
            peer.connection.connection_lost(None)
        assert peer.connection._unfinished >= 0

    asyncio.run(run())


async def test_the_first_frame_must_be_settings() -> None:
    peer = Peer()
    peer.send(frames.PREFACE, frame(frames.PING, 0, 0, bytes(8)))
    assert await peer.fault() is ErrorCode.PROTOCOL_ERROR


async def test_cancelled_calls_are_forgiven_to_a_peer_that_lets_as_many_finish() -> None:
    peer = Peer(max_cancelled=10)
    peer.greet()
    for _ in range(50):
        peer.send(peer.call(b"", "/test.Echo/Later"), frames.rst_stream(peer.stream, ErrorCode.CANCEL))
        peer.send(peer.call(b""))
    assert not peer.socket.closed


async def test_windows_of_streams_that_overflow_or_do_not_exist_are_faults() -> None:
    peer = Peer()
    peer.greet()
    peer.send(peer.call(bytes(1), "/test.Echo/Later"), frames.window_update(1, frames.MAX_WINDOW - 70_000))
    peer.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 20}))
    assert await peer.fault() is ErrorCode.FLOW_CONTROL_ERROR
    idle = Peer()
    idle.greet()
    idle.send(frames.window_update(9, 1))
    assert await idle.fault() is ErrorCode.PROTOCOL_ERROR


async def test_a_raw_method_that_raises_fails_its_call_alone() -> None:
    def broken(_: Call, message: bytes) -> None:
        raise KeyError(message)

    peer = Peer()
    peer.server.add_raw_method("/test.Echo/Broken", broken)
    peer.greet()
    peer.send(peer.call(b"x", "/test.Echo/Broken"), peer.call(b"ab"))
    assert (await peer.answers())[3] == b"ba"
    failed = [f for f in await peer.sent() if f.kind == frames.HEADERS and f.stream == 1]
    assert b"grpc-status\x0213" in failed[0].payload


async def test_a_message_of_100_mib_passes_both_ways() -> None:
    message = os.urandom(1 << 20) * 100
    async with serving(Echo(), max_message_bytes=1 << 27) as server, client(server) as channel:
        assert await method(channel, "Raw")(message) == message[::-1]


async def test_a_client_that_does_not_read_a_stream_holds_bounded_memory() -> None:
    made = 0

    async def endless(_: bytes, context: Any) -> Any:
        nonlocal made
        while True:
            made += 1
            yield bytes(100_000)

    async with serving(Echo()) as server, client(server) as channel:
        handler = grpc.unary_stream_rpc_method_handler(endless)
        server.add_registered_method_handlers("test.Endless", {"Go": handler})
        call = channel.unary_stream("/test.Endless/Go")(b"")
        await call.read()
        seen = -1
        while seen != made:  # until it stands still
            seen = made
            await asyncio.sleep(0.1)
        assert made < 400
        call.cancel()
        await eventually(lambda: not server._tasks)


def test_it_runs_on_uvloop() -> None:
    async def run() -> None:
        async with serving(Echo()) as server, client(server) as channel:
            assert await method(channel, "Raw")(b"ab") == b"ba"
            assert await method(channel, "Unary")(b"ab") == b"ab"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
    subprocess.run([*command, *subject, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return key, cert


async def test_tls_negotiates_h2(certificate: tuple[Path, Path]) -> None:
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    echo = Echo()
    server = GrpcServer(tls=context)
    server.add_raw_method("/test.Echo/Raw", echo.raw)
    await server.start()
    try:
        trusted = grpc.ssl_channel_credentials(cert.read_bytes())
        port = server.address.rsplit(":", 1)[1]
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted, options=options) as channel:
            message = os.urandom(3 << 20)
            assert await channel.unary_unary("/test.Echo/Raw")(message) == message[::-1]
    finally:
        await server.stop(0.0)


async def test_pings_are_answered_while_a_call_waits() -> None:
    peer = Peer()
    peer.greet()
    peer.send(peer.call(b"x", "/test.Echo/Later"))
    for number in range(100):
        peer.send(frame(frames.PING, 0, 0, struct.pack(">Q", number)))
    pongs = [f.payload for f in await peer.sent() if f.kind == frames.PING]
    assert pongs == [struct.pack(">Q", number) for number in range(100)]


async def test_a_stopped_server_leaves_no_socket_even_to_a_peer_that_never_says_goodbye(
    certificate: tuple[Path, Path],
) -> None:
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = GrpcServer(tls=context)
    await server.start()
    host, port = server.address.rsplit(":", 1)
    trusting = ssl.create_default_context(cafile=str(cert))
    trusting.set_alpn_protocols(["h2"])
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = trusting.wrap_bio(into, out, server_hostname="localhost")
    reader, writer = await asyncio.open_connection(host, int(port))
    while True:
        try:
            talk.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(out.read())
            into.write(await reader.read(1 << 16))
    writer.write(out.read())
    await eventually(lambda: len(server._connections) == 1)
    await server.stop(0.0)
    assert not server._connections
    assert (await reader.read(1 << 20)) is not None  # ended, by an end of the stream or a reset
    writer.close()
