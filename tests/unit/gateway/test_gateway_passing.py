"""Requests that the gateway passes on: unchanged, streaming both ways, and refused in words where nobody answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from headrace.runtime.web import WebServer
from services.gateway.errors import GatewayError
from services.gateway.passing.prefixes import PREFIXES, Prefix
from services.gateway.passing.proxy import Passing, add_passing
from services.gateway.rest import _refused
from tests.patience import WAIT_S, eventually

MOST = 4 << 20


class Role:
    """A role of data sets: says what it was asked, takes bodies in parts, and streams without end."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.read = 0
        self.streaming = 0
        self.app.add_route("/v1/datasets/slow", self.slow, methods=["POST"])
        self.app.add_route("/v1/datasets/events", self.events, methods=["GET"])
        self.app.add_route("/v1/datasets/{rest:path}", self.echo, methods=["GET", "HEAD", "POST", "DELETE", "PATCH"])

    async def echo(self, request: Request) -> Response:
        body = await request.body()
        said = {"X-Method": request.method, "X-Path": request.scope["raw_path"].decode(), "X-Query": request.url.query}
        return Response(body, 207, {**said, "X-Asked": request.headers.get("x-own", ""), "Upload-Offset": "7"})

    async def slow(self, request: Request) -> Response:
        async for part in request.stream():
            self.read += len(part)
        return Response(str(self.read))

    async def events(self, _: Request) -> Response:
        async def frames() -> AsyncIterator[bytes]:
            self.streaming += 1
            try:
                for i in range(1 << 30):
                    yield f"data: {i}\n\n".encode()
                    await asyncio.sleep(0.01)
            finally:
                self.streaming -= 1

        return StreamingResponse(frames(), media_type="text/event-stream")


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    server = WebServer(app, "127.0.0.1", 0, grace_s=1.0, edge=None)
    serving = asyncio.create_task(server.serve())
    try:
        yield server.url
    finally:
        server.stop()
        await serving


def gateway(resolve: Callable[[], Sequence[str]], client: httpx.AsyncClient) -> FastAPI:
    app = FastAPI()
    app.add_exception_handler(GatewayError, _refused)
    add_passing(app, [(Prefix("/v1/datasets", "datasets"), Passing("datasets", resolve, client, MOST))])
    return app


@asynccontextmanager
async def world(*others: str) -> AsyncIterator[tuple[Role, httpx.AsyncClient]]:
    """A role behind a gateway, and a client of the gateway; `others` are addresses that are tried before."""
    role = Role()
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(served(role.app))
        inner = await stack.enter_async_context(httpx.AsyncClient(timeout=None))
        url = await stack.enter_async_context(served(gateway(lambda: [*others, address], inner)))
        yield role, await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=WAIT_S))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
async def test_a_request_and_its_answer_go_through_unchanged(method: str) -> None:
    async with world() as (_, client):
        body = b"\x00\xffbytes" if method in {"POST", "PATCH"} else None
        path = "/v1/datasets/a%20b%2Fc/versions/1?against=x%40y&z="
        answer = await client.request(method, path, content=body, headers={"X-Own": "mine"})
        assert answer.status_code == 207
        assert answer.content == (body or b"")
        assert answer.headers["x-method"] == method
        assert answer.headers["x-path"] == "/v1/datasets/a%20b%2Fc/versions/1"
        assert answer.headers["x-query"] == "against=x%40y&z="
        assert answer.headers["x-asked"] == "mine"
        assert answer.headers["upload-offset"] == "7"


async def test_head_has_the_headers_and_no_body() -> None:
    async with world() as (_, client):
        answer = await client.head("/v1/datasets/x")
        assert (answer.status_code, answer.headers["upload-offset"], answer.content) == (207, "7", b"")


async def test_a_body_is_passed_on_while_it_comes() -> None:
    async with world() as (role, client):
        more = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"x" * 1000
            await more.wait()
            yield b"y" * 1000

        asked = asyncio.create_task(client.post("/v1/datasets/slow", content=body()))
        await eventually(lambda: role.read == 1000)
        more.set()
        assert (await asked).text == "2000"


async def test_a_stream_comes_as_it_is_made_and_ends_with_its_client() -> None:
    async with world() as (role, client):
        async with client.stream("GET", "/v1/datasets/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await anext(lines) == "data: 0"
        await eventually(lambda: role.streaming == 0)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused(announced: bool) -> None:
    async with world() as (_, client):

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"x" * (1 << 20)

        answer = await client.post("/v1/datasets/slow", content=b"x" * (MOST + 1) if announced else parts())
        assert answer.status_code == 413
        assert "--max-passed-bytes" in answer.json()["error"]


async def test_a_process_that_is_gone_is_passed_over() -> None:
    async with world("http://127.0.0.1:9") as (_, client):
        assert (await client.post("/v1/datasets/x", content=b"body")).content == b"body"


async def test_without_the_role_the_answer_says_which_command_starts_it() -> None:
    async with httpx.AsyncClient() as inner, served(gateway(list, inner)) as url, httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/v1/datasets")
        assert answer.status_code == 503
        assert "`headrace run datasets --pipeline FOLDER` starts it" in answer.json()["error"]


def test_no_prefix_hides_another() -> None:
    paths = [one.path for one in PREFIXES]
    assert len(set(paths)) == len(paths)
    assert not [(a, b) for a in paths for b in paths if a != b and b.startswith(f"{a}/")]
