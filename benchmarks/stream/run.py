"""What is run, in which order: everything in turn, so that a noisy minute of the machine hits all of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.stream.backlog import PARTITIONS, SINK, SOURCE, create_topics, fill, fill_with_headers
from benchmarks.stream.contestants import BARE, OURS, QUIX, TWO, Contestant
from benchmarks.stream.figures import Figures, figures, memory
from benchmarks.stream.latency import floor, latencies
from benchmarks.stream.race import race
from benchmarks.stream.report import Results
from benchmarks.stream.terms import Terms
from headrace.runtime.settings import ServiceSettings

MOST_OFFERED = {QUIX.name: 10_000.0}
"""Events/s above which a contestant's latency is not measured, since it does not keep up."""


@dataclass(frozen=True)
class Plan:
    """What to run."""

    racing: Sequence[Contestant]
    answering: Sequence[Contestant]
    """Whose latency is measured."""
    records: int
    rounds: int
    peer_rounds: int
    """Rounds in which the peers, and two processes of ours, take part; the bare loop and ours take part in all."""
    two_processes: bool
    headers: Sequence[str]
    """Kinds of headers with which the bare loop and ours are raced again."""
    memory_records: int
    rates: Sequence[float]
    seconds: float

    @property
    def backlog(self) -> int:
        """How many events are needed on the topic."""
        return max(self.records if self.racing or self.two_processes else 0, self.memory_records)

    def share(self, who: Contestant) -> int:
        """How many of them are the contestant's: the same number in every partition."""
        return int(self.records * who.share) // PARTITIONS * PARTITIONS


class Bench:
    """One invocation on one broker; `results` grow as it goes."""

    def __init__(self, plan: Plan, settings: ServiceSettings, results: Results, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._settings = settings
        self._results = results
        self._tell = tell

    def run(self) -> None:
        """Everything that is planned."""
        create_topics(self._settings)
        with self._timed("backlog"):
            fill(self._settings, self._plan.backlog)
        for n in range(self._plan.rounds):
            self._round(n)
        if self._plan.memory_records:
            self._memory()
        for kind in self._plan.headers:
            self._with_headers(kind)
        if self._plan.answering:
            self._latencies()

    def _round(self, n: int) -> None:
        for who in self._plan.racing:
            if n < self._plan.peer_rounds or not who.peer:
                found = self._race(who, who.name, n, 1)
                self._results.records[who.name] = self._plan.share(who)
                self._results.runs.setdefault(who.name, []).append(found)
        if self._plan.two_processes and n < self._plan.peer_rounds:
            self._results.two.append(self._race(OURS, TWO, n, 2))

    def _with_headers(self, kind: str) -> None:
        """The bare loop and ours in turn, on a backlog of as many events that carry headers."""
        with self._timed(f"backlog with {kind}"):
            fill_with_headers(self._settings, self._plan.records, kind)
        raced = self._results.headers.setdefault(kind, {BARE.name: [], OURS.name: []})
        for n in range(self._plan.rounds):
            for who in (BARE, OURS):
                raced[who.name].append(self._race(who, f"{who.name}.{kind}", n, 1, carry_headers=True))

    def _race(self, who: Contestant, name: str, n: int, processes: int, *, carry_headers: bool = False) -> Figures:
        records, terms = self._plan.share(who), self._terms(f"{name}.{n}", carry_headers=carry_headers)
        with self._timed(f"{name}, round {n + 1}"):
            return figures(race(who, self._settings, terms, records, processes=processes), records)

    def _memory(self) -> None:
        records = self._plan.memory_records
        with self._timed(f"memory over {records:,} records"):
            self._results.memory = memory(race(OURS, self._settings, self._terms("memory"), records), records)

    def _latencies(self) -> None:
        """First of all, what the measuring itself adds."""
        rates, seconds = self._plan.rates, self._plan.seconds
        with self._timed("floor of the latencies"):
            self._results.latencies["floor"] = floor(self._settings, rates=rates, seconds=seconds)
        for who in self._plan.answering:
            offered = [rate for rate in rates if rate <= MOST_OFFERED.get(who.name, rate)]
            terms = self._terms(f"{who.name}.rates", low_latency=True)
            with self._timed(f"latencies of {who.name}"):
                self._results.latencies[who.name] = latencies(
                    who, self._settings, terms, rates=offered, seconds=seconds
                )

    def _terms(self, group: str, *, carry_headers: bool = False, low_latency: bool = False) -> Terms:
        return Terms(
            self._settings.kafka_bootstrap_servers,
            SOURCE,
            SINK,
            f"bench.{group}",
            carry_headers=carry_headers,
            low_latency=low_latency,
        )

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._tell(f"{time.monotonic() - started:6.1f} s  {what}")
