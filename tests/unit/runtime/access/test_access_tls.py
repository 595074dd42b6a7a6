"""TLS of REST, gRPC and mutual TLS, on real sockets; certificates that change while the server runs."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from headrace.grpcserver import GrpcServer
from headrace.runtime.access.edge import Edge, call_context, is_loopback
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.web import WebServer
from headrace.security.certificates import Authority, Pair


def edge_of(pair: Pair, clients: Path | None = None, **more: Any) -> Edge:
    settings = ServiceSettings(tls_cert=pair.certificate, tls_key=pair.key, tls_client_ca=clients, **more)
    return Edge(settings, "test")


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def serving(edge: Edge) -> AsyncIterator[str]:
    server = WebServer(_answer, "127.0.0.1", 0, edge=edge)
    running = asyncio.create_task(server.serve())
    try:
        yield server.url
    finally:
        server.stop()
        await running


def trusting(authority: Authority, own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


async def ask(url: str, context: ssl.SSLContext) -> bytes:
    async with httpx.AsyncClient(verify=context) as client:
        return (await client.get(url)).content


async def test_rest_answers_over_tls_and_not_in_plain_text(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    async with serving(edge_of(authority.pair("server"))) as url:
        assert url.startswith("https://")
        assert await ask(url, trusting(authority)) == b"hello"
        with pytest.raises(httpx.TransportError):
            await ask(url, ssl.create_default_context())
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.TransportError):
                await client.get(url.replace("https", "http"))


async def test_mutual_tls_lets_in_whom_the_authority_has_signed(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "other authority")
    async with serving(edge_of(ours.pair("server"), ours.file)) as url:
        assert await ask(url, trusting(ours, ours.pair("client"))) == b"hello"
        for stranger in (None, others.pair("stranger")):
            with pytest.raises(httpx.TransportError):
                await ask(url, trusting(ours, stranger))


async def test_new_certificates_serve_without_a_restart_and_open_connections_go_on(tmp_path: Path) -> None:
    first, second = Authority(tmp_path / "ours"), Authority(tmp_path / "second authority")
    pair = first.pair("server")
    edge = edge_of(pair)
    async with serving(edge) as url, httpx.AsyncClient(verify=trusting(first)) as open_one:
        assert (await open_one.get(url)).content == b"hello"
        renewed = second.pair("renewed")
        renewed.key.replace(pair.key)
        assert not edge._certificates[0].look()  # a key that is not the certificate's: the old pair stays
        assert await ask(url, trusting(first)) == b"hello"
        renewed.certificate.replace(pair.certificate)
        assert edge._certificates[0].look()
        assert await ask(url, trusting(second)) == b"hello"
        with pytest.raises(httpx.TransportError):
            await ask(url, trusting(first))
        assert (await open_one.get(url)).content == b"hello"


async def test_an_authority_that_is_taken_away_lets_nobody_in_any_more(tmp_path: Path) -> None:
    server, old, new = Authority(tmp_path / "ours"), Authority(tmp_path / "old"), Authority(tmp_path / "new")
    edge = edge_of(server.pair("server"), old.file)
    async with serving(edge) as url:
        assert await ask(url, trusting(server, old.pair("a"))) == b"hello"
        newcomer, earlier = new.pair("b"), old.pair("c")
        new.file.replace(old.file)
        assert [one.look() for one in edge._certificates] == [True, True]
        assert await ask(url, trusting(server, newcomer)) == b"hello"
        with pytest.raises(httpx.TransportError):
            await ask(url, trusting(server, earlier))


async def test_grpc_answers_over_mutual_tls(tmp_path: Path) -> None:
    ours = Authority(tmp_path / "ours")
    edge, client = edge_of(ours.pair("server"), ours.file), ours.pair("client")
    server = GrpcServer(tls=edge.grpc_tls)
    server.add_raw_method("/test.Echo/Raw", lambda call, message: call.reply(message[::-1]))
    await server.start()
    try:
        with_key = grpc.ssl_channel_credentials(
            ours.file.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
        )
        async with grpc.aio.secure_channel(server.address, with_key) as channel:
            assert await channel.unary_unary("/test.Echo/Raw")(b"ab") == b"ba"
        without = grpc.ssl_channel_credentials(ours.file.read_bytes())
        async with grpc.aio.secure_channel(server.address, without) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary("/test.Echo/Raw")(b"ab", timeout=10)
    finally:
        await server.stop(0.0)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ours").pair("server")
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        edge_of(replace(pair, certificate=tmp_path / "gone.pem"))
    with pytest.raises(ConfigError, match="go together"):
        Edge(ServiceSettings(tls_cert=pair.certificate), "test")
    with pytest.raises(ConfigError, match=r"server\.key"):
        edge_of(replace(pair, certificate=pair.key))
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        call_context(ServiceSettings(tls_ca=tmp_path / "gone.pem"))


@pytest.mark.parametrize("more", [{"host": "0.0.0.0"}, {"host": "::"}, {"host": "10.0.0.1"}, {"ops_host": "0.0.0.0"}])
def test_listening_beyond_this_machine_without_authentication_is_refused_unless_told_so(more: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="let anybody on the network in"):
        Edge(ServiceSettings(**more), "test")
    Edge(ServiceSettings(**more, auth="required"), "test")
    Edge(ServiceSettings(**more, allow_unauthenticated=True), "test")


def test_which_addresses_are_this_machines_own() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
