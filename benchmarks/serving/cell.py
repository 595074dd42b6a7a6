"""One cell: a load on one server, from one process or several, and what came of it."""

import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.serving.cores import Cores, busy_s, pinned
from benchmarks.serving.load.plan import Form, Outcome, Plan
from benchmarks.serving.requests import Requests
from benchmarks.serving.servers import Server

_AHEAD_S = 0.05
"""From the moment at which all processes of the load are ready until they begin."""
_PATIENCE_S = 60.0
_CONNECTIONS = 8
"""At most, over gRPC: calls share them. Over HTTP/1.1 each request in flight has its own."""
_ROOM = 512
"""Requests in flight at most where they come on a schedule."""


class Disqualified(Exception):  # noqa: N818 - what it is
    """A server answered wrongly, or not at all."""


class NothingAnswered(Exception):  # noqa: N818 - what it is
    """All answers were right, and too late to count."""


@dataclass(frozen=True)
class Load:
    """What is asked of a server."""

    form: Form
    in_flight: int
    batch: int = 1
    rate: float = 0.0
    """Requests/s on a schedule; 0: so many in flight, always."""
    seconds: float = 2.0
    warm_up_s: float = 0.5

    def __str__(self) -> str:
        """As keys and tables call it."""
        offered = f" at {self.rate:,.0f}/s" if self.rate else f" {self.in_flight} in flight"
        return f"{self.form}{offered}, batch {self.batch}"


@dataclass(frozen=True)
class Figures:
    """What came of it; latencies in ms."""

    requests_per_s: float
    p50: float
    p99: float
    worst: float
    cpu_us: float
    """Processor time of the server's process tree for a request."""
    load_busy: float
    """Share of its core that the busiest process of the load took: near 1, the load was the limit."""
    load_us: float
    """Processor time of the load for a request; polling the clock included, where it comes on a schedule."""
    others: float
    """Share of the servers' cores that went to neither the server nor the load. From some hundredths on, rates say
    little: a server of one busy thread loses more of them than one of several."""
    answered: int
    decoded: int

    def as_dict(self) -> dict[str, float]:
        """Rounded, for JSON."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Seen:
    """Figures, and every request that counts.

    [N, 2] of when it was due, on the monotonic clock, and its latency, in s.
    """

    figures: Figures
    requests: np.ndarray
    versions: list[int]


def run(server: Server, load: Load, requests: Requests, cores: Cores, *, by_version: bool = False) -> Seen:
    """Put the load on the server.

    Raises:
        Disqualified: an answer was wrong, or did not come.
        NothingAnswered: none came in the time that counts.
    """
    outcomes, cpu_s, others = _outcomes(server, load, requests, cores, by_version=by_version)
    for outcome in outcomes:
        if outcome.failures:
            raise Disqualified(outcome.first_failure)
    seen = np.concatenate([_requests(outcome) for outcome in outcomes])
    if not len(seen):
        raise NothingAnswered("no request was answered in the time that counts")
    seen = seen[np.argsort(seen[:, 0])]
    p50, p99, worst = (float(v) * 1000 for v in np.percentile(seen[:, 1], [50, 99, 100]))
    sent = sum(o.sent for o in outcomes)
    figures = Figures(
        len(seen) / load.seconds, p50, p99, worst, cpu_s / sent * 1e6, max(o.cpu_s / o.wall_s for o in outcomes),
        sum(o.cpu_s for o in outcomes) / sent * 1e6, others, len(seen), sum(o.decoded for o in outcomes),
    )  # fmt: skip
    return Seen(figures, seen, [version for outcome in outcomes for version in outcome.versions])


def _outcomes(
    server: Server, load: Load, requests: Requests, cores: Cores, *, by_version: bool
) -> tuple[list[Outcome], float, float]:
    processes = min(len(cores.load), load.in_flight) if not cores.shared else 1
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        started = []
        for n in range(processes):
            plan, outcome = Path(folder, f"{n}.plan"), Path(folder, f"{n}.outcome")
            told = _plan(server, load, requests, processes, n, spin=not cores.shared, by_version=by_version)
            plan.write_bytes(msgspec.msgpack.encode(told))
            line = [sys.executable, "-m", "benchmarks.serving.load", str(plan), str(outcome)]
            started.append((_Process(pinned(cores.load, line)), outcome))
        try:
            for process, _ in started:
                process.ready()
            before, busy, begin = server.cpu_s(), busy_s(cores.servers), time.monotonic() + _AHEAD_S
            for n, (process, _) in enumerate(started):  # on a schedule, one after the other
                process.begin(begin + (n / load.rate if load.rate else 0.0))
            for process, _ in started:
                process.ended(load.seconds + load.warm_up_s + _PATIENCE_S)
            cpu_s, busy, wall = (
                server.cpu_s() - before,
                busy_s(cores.servers) - busy,
                time.monotonic() - begin + _AHEAD_S,
            )
        finally:
            for process, _ in started:
                process.kill()
        outcomes = [msgspec.msgpack.decode(o.read_bytes(), type=Outcome) for _, o in started]
    known = cpu_s + sum(o.cpu_s for o in outcomes) * cores.shared
    return outcomes, cpu_s, max(0.0, busy - known) / wall / len(cores.servers)


def _plan(
    server: Server, load: Load, requests: Requests, processes: int, n: int, *, spin: bool, by_version: bool
) -> Plan:
    """The share of process `n`."""
    http2 = load.form == "grpc"
    wanted = _ROOM if load.rate and http2 else load.in_flight
    in_flight = wanted // processes + (n < wanted % processes)
    return Plan(
        host=server.address.host, port=server.address.grpc if http2 else server.address.rest, form=requests.form,
        path=requests.path, requests=requests.bodies, answers=requests.answers,
        connections=min(in_flight, _CONNECTIONS) if http2 else in_flight, in_flight=in_flight,
        warm_up_s=load.warm_up_s, seconds=load.seconds, rate=load.rate / processes, spin=spin, http2=http2,
        by_version=by_version,
    )  # fmt: skip


class _Process:
    """One process of the load."""

    def __init__(self, line: list[str]) -> None:
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> None:
        """Wait until it is connected."""
        if self._process.stdout is None or not self._process.stdout.readline():
            raise Disqualified("the load could not connect")

    def begin(self, at_s: float) -> None:
        """Let it begin at a moment of the monotonic clock."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{at_s}\n")
            self._process.stdin.flush()

    def ended(self, patience_s: float) -> None:
        """Wait for its end."""
        try:
            code = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise Disqualified("answers are missing: the load waited for a minute") from None
        if code:
            raise Disqualified(f"the load failed with exit code {code}: answers are missing")

    def kill(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _requests(outcome: Outcome) -> np.ndarray:
    return np.stack([np.frombuffer(outcome.due_s), np.frombuffer(outcome.took_s)], axis=1)
