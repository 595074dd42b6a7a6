"""Following the predictions over a WebSocket, with a real server and client: filters, resuming, and slow clients."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from headrace.model.spec import PipelineSpec
from headrace.runtime.web import WebServer
from services.gateway.errors import BadRequestError
from services.gateway.fanout import ALL, MAX_KEYS, Choice, Record, frame, notice
from services.gateway.models import Models
from services.gateway.rest import Gateway, create_app
from services.gateway.websocket import Following, events, message, wanted_keys
from tests.patience import WAIT_S, eventually
from tests.unit.gateway.test_gateway_feed import World

SPEC = PipelineSpec(name="p", model="model.py:M")


class Served:
    """A gateway's routes on a port, before an in-memory sink."""

    def __init__(self, world: World) -> None:
        self.world = world
        nobody: Any = None  # the routes that would call these are not called
        gateway = Gateway(Models(SPEC), nobody, nobody, {"predictions": world.feed}, nobody, max_request_bytes=1 << 20)
        self.server = WebServer(create_app(gateway), "127.0.0.1", 0, websockets=True, edge=None)

    def connect(self, query: str = "", *, pipeline: str = "p", **options: Any) -> connect:
        url = self.server.url.replace("http", "ws")
        return connect(f"{url}/v1/pipelines/{pipeline}/predictions/ws{query}", proxy=None, **options)

    def append(self, *keys: str) -> None:
        for key in keys:
            self.world.log.append(key, json.dumps({"key": key}))


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[Served]:
    one = Served(World(**options))
    serving = asyncio.create_task(one.server.serve())
    await eventually(lambda: one.server._server.started)
    try:
        yield one
    finally:
        await one.world.feed.close()
        one.server.stop()
        await serving


async def take(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(WAIT_S):
        return [json.loads(await socket.recv()) for _ in range(count)]


async def until_closed(socket: ClientConnection) -> AsyncIterator[str | bytes]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


def keys(messages: list[dict[str, Any]]) -> list[str]:
    return [one["data"]["key"] for one in messages]


async def test_the_chosen_keys_come_from_past_and_present_with_their_positions() -> None:
    async with served() as one:
        one.append("a", "b", "c")
        async with one.connect("?from=earliest&key=a&key=c") as socket:
            past = await take(socket, 2)
            one.append("b", "c")
            (now,) = await take(socket, 1)

    assert [m["event"] for m in (*past, now)] == ["prediction"] * 3
    assert keys([*past, now]) == ["a", "c", "c"]
    assert [m["id"] for m in (*past, now)] == ["0:1,1:0", "0:3,1:0", "0:5,1:0"]


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_client_goes_on_after_the_last_message_that_it_saw(by_header: bool) -> None:
    async with served() as one:
        one.append("a", "b", "c")
        async with one.connect("?from=earliest") as socket:
            last = (await take(socket, 2))[-1]["id"]
        query, headers = ("", {"Last-Event-ID": last}) if by_header else (f"?from={last}", {})
        async with one.connect(query, additional_headers=headers) as socket:
            assert keys(await take(socket, 1)) == ["c"]


async def test_a_client_changes_its_keys_by_messages() -> None:
    async with served() as one, one.connect("?key=a") as socket:
        one.append("a", "b")
        assert keys(await take(socket, 1)) == ["a"]
        for wanted, told, got in ((["c", "b"], ["b", "c"], ["b", "c"]), (None, None, ["a", "b", "c"]), ([], [], [])):
            await socket.send(json.dumps({"keys": wanted}))
            assert await take(socket, 1) == [{"event": "keys", "data": {"keys": told}}]
            one.append("a", "b", "c")
            assert keys(await take(socket, len(got))) == got
            await eventually(lambda: one.world.fanout.at[0] == len(one.world.log.partitions[0]))


@pytest.mark.parametrize("sent", ["", "[]", '{"keys": "a"}', '{"keys": [1]}', '{"key": ["a"]}', b"\xff"])
async def test_any_other_message_ends_the_connection_and_says_what_is_expected(sent: str | bytes) -> None:
    async with served() as one, one.connect() as socket:
        await socket.send(sent)
        with pytest.raises(ConnectionClosed) as closed:
            await take(socket, 1)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:30]) == (1007, 'a message is {"keys": [...]} o')
        await eventually(lambda: len(one.world.fanout) == 0)


@pytest.mark.parametrize(
    ("query", "pipeline", "status", "error"),
    [
        ("", "q", 404, "unknown pipeline 'q'"),
        ("?model=nope", "p", 404, "unknown model 'nope'"),
        ("?from=x", "p", 400, "a position is partition:offset"),
        ("?" + "&".join(f"key={i}" for i in range(MAX_KEYS + 1)), "p", 400, "1001 keys where 1000 are the most"),
    ],
)
async def test_a_client_is_refused_with_a_status_and_the_reason(
    query: str, pipeline: str, status: int, error: str
) -> None:
    async with served() as one:
        with pytest.raises(InvalidStatus) as refused:
            await one.connect(query, pipeline=pipeline)
        response = refused.value.response
        assert response.status_code == status
        assert error in json.loads(response.body)["error"]
        assert len(one.world.fanout) == 0


async def test_a_client_that_goes_away_is_forgotten() -> None:
    async with served(max_subscribers=1) as one:
        for _ in range(3):
            async with one.connect() as socket:
                one.append("a")
                await take(socket, 1)
            await eventually(lambda: len(one.world.fanout) == 0)


async def test_a_gateway_that_stops_says_so() -> None:
    async with served() as one, one.connect() as socket:
        one.append("a")
        await take(socket, 1)
        await one.world.feed.close()
        assert [m["event"] for m in await take(socket, 1)] == ["closed"]
        with pytest.raises(ConnectionClosed) as closed:
            await take(socket, 1)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:17]) == (1001, "the gateway stops")


async def test_a_client_that_reads_too_slowly_is_dropped_and_told_where_to_go_on() -> None:
    async with served(limit=20) as one, one.connect(max_queue=1, compression=None) as socket:
        for i in range(400):
            one.world.log.append("a", json.dumps({"key": str(i), "padding": "x" * 100_000}))
        await eventually(lambda: len(one.world.fanout) == 0 and one.world.fanout.at.get(0) == 400)

        got = [json.loads(one) async for one in until_closed(socket)]
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:8]) == (1013, "too slow")
        assert keys(got[:-1]) == [str(i) for i in range(len(got) - 1)]
        assert (got[-1]["event"], got[-1]["id"]) == ("dropped", f"0:{len(got) - 1},1:0")
        assert len(got) < 400


class Stuck:
    """A socket whose client never reads."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []

    async def send_text(self, _: str) -> None:
        await asyncio.Event().wait()

    async def receive(self) -> dict[str, Any]:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


async def test_a_client_that_never_reads_is_dropped_after_a_while() -> None:
    ended = []

    async def frames() -> AsyncGenerator[bytes]:
        try:
            yield frame(Record(0, 0, b"a", b"{}"), {0: 1})
        finally:
            ended.append(True)

    socket: Any = Stuck()
    await Following(socket, frames(), ALL, send_s=0.01).run()
    assert socket.closed == [(1013, "too slow: reconnect with Last-Event-ID to go on")]
    assert ended == [True]


@given(values=st.lists(st.binary(max_size=30), max_size=5), offset=st.integers(1, 9))
def test_every_record_is_one_message_whatever_is_in_it(values: list[bytes], offset: int) -> None:
    frames = b"".join(frame(Record(0, i, b"k", v), {0: offset + i}) for i, v in enumerate(values))
    made = [json.loads(message(*e)) for e in events(frames + notice("closed", "bye", {0: 99}))]

    assert [m["id"] for m in made] == [f"0:{offset + i}" for i in range(len(values))] + ["0:99"]
    assert made[-1] == {"id": "0:99", "event": "closed", "data": {"reason": "bye"}}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5) | st.none())
def test_keys_are_read_as_they_are_written(wanted: list[str] | None) -> None:
    expected = None if wanted is None else frozenset(key.encode() for key in wanted)
    assert wanted_keys(json.dumps({"keys": wanted})) == expected
    assert Choice(expected).takes(Record(0, 0, b"\xff", b"")) == (wanted is None)


def test_too_many_keys_are_refused() -> None:
    with pytest.raises(BadRequestError, match="the most"):
        wanted_keys(json.dumps({"keys": ["a"] * (MAX_KEYS + 1)}))
