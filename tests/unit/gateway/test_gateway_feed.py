"""Following the predictions: one live reader, bounded queues, and a past that joins the present without a gap."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headrace.runtime.errors import DependencyError
from services.gateway import positions
from services.gateway.errors import BadRequestError, BusyError, UnavailableError
from services.gateway.fanout import ALL, Choice, Fanout, Record
from services.gateway.feed import Feed, start_of


class Log:
    """An in-memory sink of two partitions."""

    def __init__(self) -> None:
        self.partitions: list[list[tuple[bytes, bytes]]] = [[], []]
        self.readers = 0
        self.broken = False

    def append(self, key: str, value: str, partition: int = 0) -> None:
        self.partitions[partition].append((key.encode(), value.encode()))

    def reader(self) -> "LogReader":
        return LogReader(self)


class LogReader:
    """The twin of `SinkReader`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.positions: dict[int, int] = {}
        self._ended: set[int] = set()

    @property
    def at_end(self) -> bool:
        return self._ended >= self.positions.keys()

    def open(self, start: str) -> None:
        if self._log.broken:
            raise DependencyError("the broker is gone")
        ends = {p: len(records) for p, records in enumerate(self._log.partitions)}
        wanted = positions.parse(start, len(ends)) if start not in ("latest", "earliest") else {}
        self.positions = ends if start == "latest" else {p: wanted.get(p, 0) for p in ends}
        self._log.readers += 1

    def read(self, timeout: float) -> list[Record]:
        if self._log.broken:
            raise DependencyError("the broker is gone")
        records = []
        for partition, kept in enumerate(self._log.partitions):
            at = self.positions[partition]
            taken = kept[at : at + 2]  # once: the test appends while this thread reads
            records += [Record(partition, at + i, key, value) for i, (key, value) in enumerate(taken)]
            self.positions[partition] = at + len(taken)
            if self.positions[partition] == len(kept):
                self._ended.add(partition)
        return records

    def close(self) -> None:
        self._log.readers -= 1


EVENT = re.compile(r"id: (\S+)\nevent: (\S+)\ndata: (.*)\n\n")


async def take(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, ...]]:
    """The next events of a stream: (id, event, data)."""
    found: list[tuple[str, ...]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += [m.groups() for m in EVENT.finditer((await anext(stream)).decode())]
    return found


def data(events: list[tuple[str, ...]]) -> list[str]:
    return [event[2] for event in events]


class World:
    def __init__(self, limit: int = 100, **options: Any) -> None:
        self.log = Log()
        self.fanout = Fanout(limit, options.pop("max_subscribers", 10))
        self.feed = Feed(self.log.reader, self.fanout, **{"max_replays": 2, **options})


async def test_a_follower_gets_what_comes_after_it() -> None:
    world = World()
    world.log.append("a", "past")
    stream = await world.feed.follow("latest", ALL)

    world.log.append("a", "one")
    world.log.append("b", "two")

    assert await take(stream, 2) == [("0:2,1:0", "prediction", "one"), ("0:3,1:0", "prediction", "two")]
    await world.feed.close()


async def test_all_followers_share_one_reader() -> None:
    world = World()
    streams = [await world.feed.follow("latest", ALL) for _ in range(5)]
    world.log.append("a", "one")

    assert [data(await take(stream, 1)) for stream in streams] == [["one"]] * 5
    assert world.log.readers == 1
    await world.feed.close()
    assert world.log.readers == 0


async def test_the_past_joins_the_present_without_gap_or_repetition() -> None:
    world = World()
    for i in range(7):
        world.log.append("a", str(i), i % 2)
    stream = await world.feed.follow("earliest", ALL)

    got = data(await take(stream, 3))
    for i in range(7, 20):
        world.log.append("a", str(i), i % 2)
    got += data(await take(stream, 20 - len(got)))
    world.log.append("a", "20", 0)
    got += data(await take(stream, 1))

    assert sorted(map(int, got)) == list(range(21))
    for partition in (0, 1):
        of = [int(one) for one in got if int(one) % 2 == partition]
        assert of == sorted(of)
    await world.feed.close()


async def test_a_replay_that_is_ahead_of_the_live_reader_repeats_nothing() -> None:
    fanout = Fanout(limit=10, max_subscribers=2)
    fanout.at = {0: 3}  # the live reader has come this far, the replay to 5
    ahead = fanout.subscribe(ALL, {0: 5})
    fanout.publish([Record(0, offset, b"a", str(offset).encode()) for offset in range(3, 7)])
    assert [m[3] for m in EVENT.finditer((await ahead.take()).decode())] == ["5", "6"]


async def test_a_client_goes_on_after_the_last_event_that_it_saw() -> None:
    world = World()
    for i in range(6):
        world.log.append("a", str(i), i % 2)
    first = await world.feed.follow("earliest", ALL)
    seen = await take(first, 4)
    second = await world.feed.follow(seen[3][0], ALL)

    rest = data(await take(second, 2))

    assert sorted(data(seen[:4]) + rest) == [str(i) for i in range(6)]
    await world.feed.close()


async def test_a_key_chooses_from_past_and_present() -> None:
    world = World()
    for key in "aba":
        world.log.append(key, f"past {key}")
    stream = await world.feed.follow("earliest", Choice(frozenset([b"a"])))
    assert data(await take(stream, 2)) == ["past a", "past a"]

    world.log.append("b", "not this")
    world.log.append("a", "this")

    assert data(await take(stream, 1)) == ["this"]
    await world.feed.close()


async def test_several_keys_may_be_chosen_and_changed_meanwhile() -> None:
    world = World()
    choice = Choice(frozenset([b"a", b"c"]))
    for key in "abc":
        world.log.append(key, f"past {key}")
    stream = await world.feed.follow("earliest", choice)
    assert data(await take(stream, 2)) == ["past a", "past c"]

    choice.keys = frozenset([b"d"])
    for key in "abcd":
        world.log.append(key, f"now {key}")

    assert data(await take(stream, 1)) == ["now d"]
    await world.feed.close()


async def test_a_model_chooses_from_past_and_present() -> None:
    world = World()
    for model, n in (("p", 1), ("p.next", 2), ("p", 3)):
        world.log.append("a", f'{{"key": "a", "prediction": {n}, "model": "{model}"}}')
    world.log.append("a", "somebody else's record")
    stream = await world.feed.follow("earliest", Choice(frozenset([b"a"]), model="p"))
    assert [json.loads(one)["prediction"] for one in data(await take(stream, 2))] == [1, 3]

    world.log.append("a", '{"prediction": 4, "model": "p.next"}')
    world.log.append("b", '{"prediction": 5, "model": "p"}')
    world.log.append("a", '{"prediction": 6, "model": "p"}')

    assert [json.loads(one)["prediction"] for one in data(await take(stream, 1))] == [6]
    await world.feed.close()


def records(*offsets: int) -> list[Record]:
    return [Record(0, offset, b"k", str(offset).encode()) for offset in offsets]


async def test_a_slow_follower_is_dropped_told_where_to_resume_and_others_go_on() -> None:
    fanout = Fanout(limit=2, max_subscribers=10)
    slow, quick = fanout.subscribe(), fanout.subscribe()
    fanout.publish(records(0, 1))
    assert len(EVENT.findall((await quick.take()).decode())) == 2

    fanout.publish(records(2))

    events = EVENT.findall((await slow.take()).decode())
    assert [event[2] for event in events[:2]] == ["0", "1"]
    assert events[2][:2] == ("0:2", "dropped")
    assert await slow.take() == b""
    assert EVENT.findall((await quick.take()).decode())[0][2] == "2"
    assert len(fanout) == 1


async def test_closing_tells_every_follower() -> None:
    world = World()
    stream = await world.feed.follow("latest", ALL)

    await world.feed.close()

    assert [event[1] for event in await take(stream, 1)] == ["closed"]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.parametrize("start", ["latest", "earliest"])
async def test_a_follower_that_goes_away_is_forgotten(start: str) -> None:
    world = World(max_subscribers=1, max_replays=1)
    for _ in range(3):
        stream = await world.feed.follow(start, ALL)
        world.log.append("a", "one")
        await take(stream, 1)
        await stream.aclose()

    assert len(world.fanout) == 0
    assert world.log.readers == 1
    await world.feed.close()
    assert world.log.readers == 0


async def test_a_broker_that_goes_away_ends_the_streams_and_refuses_new_ones() -> None:
    world = World()
    stream = await world.feed.follow("latest", ALL)
    world.log.broken = True

    assert [event[1] for event in await take(stream, 1)] == ["error"]
    with pytest.raises(UnavailableError, match="the broker is gone"):
        await world.feed.follow("latest", ALL)

    world.log.broken = False
    again = await world.feed.follow("latest", ALL)
    world.log.append("a", "back")
    assert data(await take(again, 1)) == ["back"]
    await world.feed.close()


async def test_there_are_so_many_followers_and_no_more() -> None:
    world = World(max_subscribers=1, max_replays=1)
    await world.feed.follow("latest", ALL)
    with pytest.raises(BusyError, match="follow the predictions already"):
        await world.feed.follow("latest", ALL)
    await world.feed.follow("earliest", ALL)
    with pytest.raises(BusyError, match="past predictions"):
        await world.feed.follow("earliest", ALL)
    await world.feed.close()


async def test_a_follower_that_leaves_without_reading_gives_its_place_back() -> None:
    world = World(max_subscribers=1, max_replays=1)
    for start in ("latest", "earliest"):
        for _ in range(3):
            stream = await world.feed.follow(start, ALL)
            await stream.aclose()
    assert len(world.fanout) == 0
    await world.feed.close()


@pytest.mark.parametrize("start", ["newest", "0", "0:x", "0:1,", "-1:2", "2:0", "0:-1", "0:" + "9" * 30])
async def test_a_start_that_is_no_position_is_refused(start: str) -> None:
    world = World()

    with pytest.raises(BadRequestError):
        await world.feed.follow(start, ALL)
    await world.feed.close()


def test_positions_are_read_as_they_are_written() -> None:
    at = {0: 17, 3: 4, 1: 0}

    assert positions.render(at) == "0:17,1:0,3:4"
    assert positions.parse(positions.render(at), 4) == at


def test_where_a_client_was_counts_more_than_where_it_asks() -> None:
    assert start_of("0:1", "earliest") == "0:1"
    assert start_of(None, "earliest") == "earliest"
    assert start_of(None, None) == "latest"
