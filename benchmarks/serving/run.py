"""Everything in turn: all servers are up, one at a time has the load, and a row's contestants follow each other."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from torch import nn

from benchmarks.serving import cell
from benchmarks.serving.cell import Disqualified, Load, NothingAnswered, Seen
from benchmarks.serving.contestants import ECHOES, FASTAPI_MANY, OURS, TRITON, Contestant, Stage
from benchmarks.serving.cores import Cores
from benchmarks.serving.fleet import Versions, live_rpc, swapping
from benchmarks.serving.plan import Row
from benchmarks.serving.requests import Requests, make_requests
from benchmarks.serving.results import Results, median
from benchmarks.serving.servers import NotStarted, Server
from benchmarks.serving.task.network import write_weights
from headrace.platform import LocalPlatform
from headrace.runtime.settings import ServiceSettings

SWAP_S = 1.0
"""Between versions."""
_HALF = 0.5
_IN_FLIGHT = 64
"""Connections at most where REST is offered on a schedule; and what the rate at half load is a half of, at 16."""


@dataclass(frozen=True)
class Plan:
    """What to run."""

    contestants: Sequence[Contestant]
    rows: Sequence[Row]
    cell_s: float
    offered_s: float
    """Of each part on a schedule: half load, with and without swaps."""
    offered_rounds: int
    swaps: bool = True


class Bench:
    """One invocation; `results` grow as it goes."""

    def __init__(self, plan: Plan, cores: Cores, results: Results, tell: Callable[[str], None]) -> None:
        self._plan, self._cores, self._results, self._tell = plan, cores, results, tell
        self._servers: dict[str, Server] = {}

    def run(self) -> None:
        """Everything that is planned."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-serving-")))
            network = write_weights(folder / "weights.safetensors")
            self._requests = cache(_Requests(network))
            with self._timed("servers started"):
                self._start_all(folder, stack)
            for row in self._plan.rows:
                with self._timed(f"{row.form}, {row.in_flight} in flight, batch {row.batch}"):
                    for _ in range(row.rounds):
                        self._round(row)
            with self._timed("half load"):
                self._half_load()
        if self._plan.swaps and OURS.name in self._servers:
            with self._timed("a version a second"):
                self._swaps(network)

    def _start_all(self, folder: Path, stack: ExitStack) -> None:
        """A few together: a start is imports, and waiting."""
        with ThreadPoolExecutor(len(self._cores.servers) + 1) as pool:
            started = [(who, pool.submit(self._start, who, folder)) for who in self._plan.contestants]
        for who, server in started:
            if server.exception() is None and (found := server.result()) is not None:
                stack.callback(found.stop)
                self._servers[who.name] = found
        for _, server in started:
            server.result()  # raises what was not foreseen, once the others are known and will be stopped

    def _start(self, who: Contestant, folder: Path) -> Server | None:
        reason = who.absent() or ("there is one core for it" if self._alone(who) else "")
        if reason:
            self._results.absent[who.name] = reason
            self._tell(f"[yellow]{who.title} is left out: {reason}[/]")
            return None
        own = folder / who.name
        own.mkdir()
        try:
            return who.start(Stage(own, folder / "weights.safetensors", self._cores))
        except NotStarted as error:
            self._disqualify(who, str(error))
            return None

    def _alone(self, who: Contestant) -> bool:
        return who is FASTAPI_MANY and len(self._cores.servers) == 1

    def _round(self, row: Row) -> None:
        for who, load in row.loads(self._plan.cell_s):
            seen = self._load(who, load)
            if seen is not None:
                self._results.add((row.form, row.in_flight, row.batch), who.name, seen.figures)

    def _load(self, who: Contestant, load: Load) -> Seen | None:
        """Put a load on a contestant that is there and has answered rightly so far."""
        server = self._servers.get(who.name)
        if server is None or who.name in self._results.disqualified:
            return None
        try:
            return cell.run(server, load, self._prepared(who, load), self._cores)
        except NothingAnswered as error:  # a stop of the machine, or of the server: the round is left out, not hidden
            self._tell(f"[yellow]{who.title}, {load}: {error}[/]")
        except Disqualified as error:
            self._disqualify(who, f"{load}: {error}")
        return None

    def _prepared(self, who: Contestant, load: Load) -> Requests:
        made = self._requests(load.form, load.batch, who.one_tensor)
        return replace(made, form="bytes") if who in ECHOES else made

    def _disqualify(self, who: Contestant, why: str) -> None:
        """A wrong answer costs all its figures: a server that may be wrong may be fast."""
        self._results.disqualified[who.name] = why
        for found in (*self._results.cells.values(), self._results.half_load):
            found.pop(who.name, None)
        self._tell(f"[bold red]DISQUALIFIED: {who.title}: {why}[/]")

    def _half_load(self) -> None:
        """Requests on a schedule, at half of what each did with 16 in flight."""
        for _ in range(self._plan.offered_rounds):
            for who in (OURS, TRITON):
                load = self._offered(who)
                seen = self._load(who, load) if load else None
                if seen is not None:
                    self._results.half_load.setdefault(who.name, []).append(seen.figures)

    def _offered(self, who: Contestant) -> Load | None:
        runs = self._results.cells.get(("grpc", 16, 1), {}).get(who.name)
        if not runs:
            return None
        return Load("grpc", _IN_FLIGHT, rate=median(runs).requests_per_s * _HALF, seconds=self._plan.offered_s)

    def _swaps(self, network: nn.Module) -> None:
        """Ours on live weights at half load: some seconds as it is, and as many with a version a second; in turn."""
        load = self._offered(OURS)
        if load is None:
            return
        with tempfile.TemporaryDirectory() as name, LocalPlatform(Path(name), env={}) as platform:
            folder = Path(name)
            settings = ServiceSettings(
                kafka_bootstrap_servers=platform.endpoints.kafka_bootstrap_servers,
                redis_url=platform.endpoints.redis_url, run_dir=folder, storage_dir=folder / "storage",
            ).for_role("bench")  # fmt: skip
            versions = Versions(settings, network)
            try:
                with live_rpc(Stage(folder, folder, self._cores), settings, versions) as server:
                    self._compare(server, load, versions)
            except (Disqualified, NotStarted) as error:
                self._disqualify(OURS, f"on live weights: {error}")
            finally:
                versions.close()

    def _compare(self, server: Server, load: Load, versions: Versions) -> None:
        requests, found = self._prepared(OURS, load), []
        for _ in range(self._plan.offered_rounds):
            steady = cell.run(server, load, requests, self._cores, by_version=True)
            with swapping(versions, SWAP_S):
                swaps = cell.run(server, load, requests, self._cores, by_version=True)
            found.append((steady.figures, swaps.figures))
            self._results.versions += len(set(swaps.versions))
            self._results.swaps = found

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._tell(f"{time.monotonic() - started:6.1f} s  {what}")


class _Requests:
    """Makes requests for one network."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, form: cell.Form, batch: int, one_tensor: bool) -> Requests:  # noqa: FBT001 - cached by all three
        return make_requests(form, self._network, batch, one_tensor=one_tensor)
