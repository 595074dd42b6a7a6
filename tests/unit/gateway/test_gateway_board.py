"""The page's sections: looked at once for all pages, and no faster for a page that reads slowly."""

import asyncio
from collections.abc import Mapping

import pytest

from headrace.runtime.errors import DependencyError
from services.gateway.errors import BadRequestError, BusyError
from services.gateway.live import board as board_module
from services.gateway.live.board import Board, Page
from tests.patience import eventually


class Counting:
    """Says how often it was looked at, until `held`; then nothing new."""

    period_s = 0.01

    def __init__(self) -> None:
        self.looks = self.closed = 0
        self.held = False
        self.fails = ""

    async def look(self) -> bytes:
        self.looks += 1
        if self.fails:
            raise DependencyError(self.fails)
        return b"" if self.held else str(self.looks).encode()

    def first(self) -> Mapping[str, bytes]:
        return {"history": b"[]"}

    async def close(self) -> None:
        self.closed += 1


class World:
    def __init__(self, **more: int) -> None:
        self.made: list[Counting] = []
        self.board = Board(self._find, max_pages=more.get("max_pages", 100))

    def _find(self, name: str) -> Counting | None:
        if name != "counting":
            return None
        self.made.append(Counting())
        return self.made[-1]


async def taken(page: Page, until: bytes) -> bytes:
    """Everything that a page is sent, up to something that stands in it."""
    sent = b""
    while until not in sent:
        sent += await page.take()
    return sent


async def test_a_section_is_looked_at_once_whatever_the_number_of_pages() -> None:
    world = World()
    pages = [world.board.open(["counting"]) for _ in range(20)]
    for page in pages:
        assert b"event: counting\ndata: " in await taken(page, b"event: counting")
    assert len(world.made) == 1
    await world.board.stop()


async def test_a_page_is_first_told_the_history() -> None:
    world = World()
    page = world.board.open(["counting"])
    assert (await page.take()).startswith(b"event: history\ndata: []\n\n")
    await world.board.stop()


async def test_a_page_that_reads_slowly_is_sent_the_newest_alone() -> None:
    world = World()
    page = world.board.open(["counting"])
    await eventually(lambda: world.made[0].looks > 20)
    sent = await taken(page, b"event: counting")
    assert sent.count(b"event: counting") == 1
    await world.board.stop()


async def test_what_is_not_new_is_not_sent_again() -> None:
    world = World()
    page = world.board.open(["counting"])
    await taken(page, b"event: counting")
    world.made[0].held = True
    looks = world.made[0].looks
    await eventually(lambda: world.made[0].looks > looks + 5)
    await page.take()  # what was on its way
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(page.take(), 0.1)
    await world.board.stop()


async def test_a_page_that_begins_is_told_what_was_said_last() -> None:
    world = World()
    first = world.board.open(["counting"])
    await taken(first, b"event: counting")
    world.made[0].held = True
    assert b"event: counting" in await taken(world.board.open(["counting"]), b"event: counting")
    await world.board.stop()


async def test_a_section_that_fails_says_why_and_is_looked_at_again() -> None:
    world = World()
    page = world.board.open(["counting"])
    await taken(page, b"event: counting")
    world.made[0].fails = "Kafka is away"
    await taken(page, b'{"error":"Kafka is away"}')
    world.made[0].fails = ""
    looks = world.made[0].looks
    await eventually(lambda: world.made[0].looks > looks + 2)
    assert b"error" not in (await taken(page, b"event: counting"))
    await world.board.stop()


async def test_a_section_that_nobody_follows_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "LINGER_S", 0.0)
    world = World()
    page = world.board.open(["counting"])
    world.board.close(page)
    await eventually(lambda: world.made[0].closed == 1)
    again = world.board.open(["counting"])
    await taken(again, b"event: counting")
    assert len(world.made) == 2
    await world.board.stop()


async def test_an_unknown_section_is_refused_and_leaves_no_page() -> None:
    world = World()
    with pytest.raises(BadRequestError, match="no section 'other'"):
        world.board.open(["counting", "other"])
    assert len(world.board) == 0
    await world.board.stop()


async def test_more_pages_than_are_allowed_are_refused() -> None:
    world = World(max_pages=1)
    world.board.open(["counting"])
    with pytest.raises(BusyError, match="1 pages are open"):
        world.board.open(["counting"])
    await world.board.stop()


async def test_a_stop_ends_every_page() -> None:
    world = World()
    page = world.board.open(["counting"])
    await world.board.stop()
    while sent := await page.take():
        assert b"event" in sent
    assert world.made[0].closed == 1
