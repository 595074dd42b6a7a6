"""Several workers are one server: an operation is done in all of them, or refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.errors import DependencyError
from services.inference.oip.messages import AlreadyExists, InvalidRequest, ModelFailed, Unavailable
from services.inference.rpc.control.hub import Hub, socket_of
from services.inference.rpc.control.journal import Journal
from services.inference.rpc.control.member import Member
from services.inference.rpc.control.statistics import merged
from services.inference.rpc.statistics import Execution, Statistics
from tests.patience import WAIT_S, eventually


class Worker:
    """One worker; its operations note what they are asked, and refuse what `refuses` has."""

    def __init__(self, path: Path) -> None:
        self.done: list[tuple[str, list[Any]]] = []
        self.refuses: dict[str, Exception] = {}
        self.statistics = Statistics()
        self.version = 1
        self.dies = False
        self.member = Member(self, path)  # type: ignore[arg-type]

    async def do(self, name: str, arguments: Sequence[Any]) -> Any:
        if name in self.refuses:
            raise self.refuses[name]
        if name == "statistics":
            return [self.statistics.as_dict("trips", self.version)]
        self.done.append((name, list(arguments)))
        if self.dies:
            self.end = asyncio.ensure_future(self.member.close())
        return {"told": name}

    def answered(self, requests: int) -> None:
        for _ in range(requests):
            self.statistics.succeeded(100, 10, Execution(1, 2, 3, 4, 5), 5)


class Server:
    def __init__(self, path: Path) -> None:
        self.path, self.hub = path, Hub(path)
        self.workers: list[Worker] = []

    async def worker(self) -> Worker:
        made = Worker(self.path)
        await made.member.join()
        self.workers.append(made)
        return made


@asynccontextmanager
async def serving(folder: Path, workers: int = 2) -> AsyncIterator[tuple[Server, list[Worker]]]:
    server = Server(socket_of(folder, "rpc-1"))
    await server.hub.open()
    try:
        yield server, [await server.worker() for _ in range(workers)]
    finally:
        for one in server.workers:
            await one.member.close()
        await server.hub.close()


async def test_what_one_is_asked_all_do(tmp_path: Path) -> None:
    async with serving(tmp_path, 3) as (_, workers):
        assert await workers[1].member.do("unload", ["trips"]) == {"told": "unload"}
        assert [one.done for one in workers] == [[("unload", ["trips"])]] * 3


async def test_one_that_starts_later_is_told_what_stands(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, (one, other)):
        await one.member.do("register", ["a", "/a", 0, 8])
        await other.member.do("register", ["b", "/b", 0, 8])
        await other.member.do("unregister", ["a"])
        await one.member.do("logging", [{"log_info": False}])
        late = await server.worker()
        assert late.done == [("register", ["b", "/b", 0, 8]), ("logging", [{"log_info": False}])]


async def test_what_the_asked_one_refuses_no_other_is_asked(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, (one, other)):
        one.refuses["register"] = AlreadyExists("shared memory region 'a' already in manager")
        with pytest.raises(AlreadyExists, match="'a' already in manager"):
            await one.member.do("register", ["a", "/a", 0, 8])
        assert other.done == []
        assert (await server.worker()).done == []


async def test_a_region_that_one_refuses_is_taken_from_all(tmp_path: Path) -> None:
    async with serving(tmp_path, 3) as (server, (one, other, third)):
        other.refuses["register"] = InvalidRequest("unable to open key '/a'")
        with pytest.raises(InvalidRequest, match="unable to open"):
            await one.member.do("register", ["a", "/a", 0, 8])
        assert one.done == third.done == [("register", ["a", "/a", 0, 8]), ("unregister", ["a"])]
        assert (await server.worker()).done == []


async def test_an_operation_that_breaks_is_an_error_and_the_next_is_done(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, (one, other)):
        one.refuses["load"] = KeyError("a fault of ours")
        with pytest.raises(ModelFailed, match="internal error"):
            await one.member.do("load", ["trips", {}])
        with pytest.raises(Unavailable, match="no operation"):
            await one.member.do("format_disk", [])
        await other.member.do("unload", ["trips"])
        assert one.done == [("unload", ["trips"])]


async def test_operations_of_many_clients_are_done_in_one_order(tmp_path: Path) -> None:
    async with serving(tmp_path, 3) as (_, workers):
        names = [f"m{i}" for i in range(30)]
        await asyncio.gather(*(workers[i % 3].member.do("unload", [name]) for i, name in enumerate(names)))
        assert workers[0].done == workers[1].done == workers[2].done
        assert sorted(arguments[0] for _, arguments in workers[0].done) == sorted(names)


async def test_one_that_ends_is_waited_for_by_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, 3) as (_, (one, other, gone)):
        await gone.member.close()
        async with asyncio.timeout(WAIT_S):
            await one.member.do("unload", ["trips"])
        assert other.done == [("unload", ["trips"])]
        with pytest.raises(Unavailable):
            await gone.member.do("load", ["trips", {}])


@pytest.mark.parametrize("who", [0, 1])
async def test_one_that_dies_in_an_operation_leaves_the_others_alike(tmp_path: Path, who: int) -> None:
    async with serving(tmp_path, 4) as (server, workers):
        workers[who].dies = True
        try:
            await workers[0].member.do("unload", ["trips"])
        except Unavailable:
            assert who == 0
        await workers[2].member.do("unload", ["other"])
        late = await server.worker()
        assert workers[2].done == workers[3].done
        assert late.done == workers[2].done
        assert late.done[-1] == ("unload", ["other"])


async def test_statistics_are_sums_that_do_not_fall_when_one_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, (one, other)):
        one.answered(3)
        other.answered(4)
        other.version = 2

        async def told(worker: Worker) -> dict[str, Any]:
            [found] = await worker.member.do("statistics", ["trips", ""])
            return found

        assert (await told(one))["inference_stats"]["success"] == {"count": 7, "ns": 700}
        assert [(await told(worker))["version"] for worker in (one, other)] == ["1", "2"]
        await other.member.close()
        await eventually(lambda: len(server.hub._members) == 1)
        one.answered(1)
        assert (await told(one))["inference_stats"]["success"]["count"] == 8
        late = await server.worker()
        late.answered(2)
        found = await told(late)
        assert (found["inference_stats"]["success"]["count"], found["inference_count"]) == (10, 50)


async def test_an_unknown_models_statistics_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, (one, _other)):
        one.refuses["statistics"] = InvalidRequest("unknown model: 'nope'")
        with pytest.raises(InvalidRequest, match="'nope'"):
            await one.member.do("statistics", ["nope", ""])


async def test_without_a_main_process_none_starts(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="main process does not answer"):
        await Worker(socket_of(tmp_path, "rpc-1")).member.join()


async def test_noise_on_the_socket_is_dropped(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, (one, other)):
        for noise in (b"\xff" * 64, b"\0\0\0\3abc", b"\0\0"):
            reader, writer = await asyncio.open_unix_connection(server.path)
            writer.write(noise)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        await one.member.do("unload", ["trips"])
        assert other.done == [("unload", ["trips"])]


def test_the_sockets_path_is_short_whatever_the_folder(tmp_path: Path) -> None:
    assert socket_of(tmp_path, "rpc-1") == tmp_path / "rpc-1.sock"
    deep = tmp_path / ("x" * 100)
    assert len(str(socket_of(deep, "rpc-1"))) < 100
    assert socket_of(deep, "rpc-1") != socket_of(deep, "rpc-2")


REGIONS = st.sampled_from(["a", "b", "c"])
OPERATIONS = st.one_of(
    st.tuples(st.just("register"), st.tuples(REGIONS, st.just("/k"), st.just(0), st.integers(1, 9))),
    st.tuples(st.just("unregister"), st.tuples(st.one_of(REGIONS, st.just("")))),
    st.tuples(st.just("load"), st.tuples(REGIONS, st.just({}))),
    st.tuples(st.just("unload"), st.tuples(REGIONS)),
    st.tuples(
        st.sampled_from(["logging", "trace"]), st.tuples(st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3)))
    ),
)


def state(operations: Sequence[tuple[str, Sequence[Any]]]) -> dict[str, Any]:
    """What these operations leave, in a worker that starts with nothing."""
    regions: dict[str, Any] = {}
    models: dict[str, bool] = {}
    settings: dict[str, dict[str, int]] = {"logging": {}, "trace": {}}
    for name, arguments in operations:
        if name == "register":
            regions.setdefault(arguments[0], tuple(arguments[1:]))
        elif name == "unregister":
            for region in [arguments[0]] if arguments[0] else list(regions):
                regions.pop(region, None)
        elif name in ("load", "unload"):
            models[arguments[0]] = name == "load"
        else:
            settings[name] |= arguments[0]
    return {"regions": regions, "models": models, **settings}


@given(st.lists(OPERATIONS, max_size=30))
def test_the_journal_leaves_a_worker_as_all_operations_leave_it(
    operations: list[tuple[str, Sequence[Any]]],
) -> None:
    journal, done, registered = Journal(), list[tuple[str, Sequence[Any]]](), set[str]()
    for name, arguments in operations:
        if name == "register":
            if arguments[0] in registered:
                continue  # which a worker refuses
            registered.add(arguments[0])
        if name == "unregister":
            registered -= {arguments[0]} if arguments[0] else registered
        journal.note(name, arguments)
        done.append((name, arguments))
    assert state(journal.standing()) == state(done)
    assert len(journal.standing()) <= 12


COUNTS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=4)


@given(st.lists(COUNTS, min_size=1, max_size=4))
def test_merged_statistics_are_those_of_one_process_that_did_it_all(work: list[list[tuple[int, int]]]) -> None:
    parts, whole = [], Statistics()
    for of_one in work:
        own = Statistics()
        for times, events in of_one:
            for statistics in (own, whole):
                for _ in range(times):
                    statistics.succeeded(100, 10, Execution(1, 2, 3, 4, events), events)
                statistics.failed(7)
        parts.append([own.as_dict("trips", 1)])
    [found], expected = merged(parts), whole.as_dict("trips", 1)
    assert found | {"last_inference": 0} == expected | {"last_inference": 0}
    assert found["last_inference"] == max(part[0]["last_inference"] for part in parts)
