"""The twins of all that effects reach, and a log in memory: what was written survives a role that is dropped."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.contracts.events_pb2 import Alert, Operation
from headrace.contracts.records import RuleRecord
from headrace.contracts.rule_records import RuleMemory, RuleRun
from headrace.rules.effects.port import Answer, StepFailed, World
from headrace.rules.spec import RuleSpec
from headrace.runtime.errors import FencedError
from services.rules.service import Rules


class MemoryLog:
    """The twin of `services.rules.kafka.RulesLog`. `failing` is raised by the next write, which writes nothing."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.operations: list[Operation] = []
        self.alerts: list[Alert] = []
        self.history: list[RuleRun] = []
        self.owner: object = None
        self.failing: Exception | None = None

    def claimed(self) -> "Claim":
        """The log as a new role has it: every role before is fenced."""
        self.owner = claim = Claim(self)
        return claim

    def recovered(self) -> tuple[dict[str, RuleRun], dict[str, RuleMemory]]:
        records = [msgspec.json.decode(value, type=RuleRecord) for value in self.values.values()]
        runs = {record.run.id: record.run for record in records if record.run is not None}
        return runs, {record.memory.rule: record.memory for record in records if record.memory is not None}


class Claim:
    """One role's hold on the log."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def write(
        self,
        records: Mapping[str, RuleRecord | None],
        operations: Sequence[Operation] = (),
        alerts: Sequence[Alert] = (),
    ) -> None:
        log = self._log
        if log.owner is not self:
            raise FencedError("a newer role has taken over")
        if log.failing is not None:
            failing, log.failing = log.failing, None
            raise failing
        for key, record in records.items():
            if record is None:
                log.values.pop(key, None)
            else:
                log.values[key] = msgspec.json.encode(record)
                log.history += [record.run] if record.run is not None else []
        log.operations += operations
        log.alerts += alerts


class MemoryJobs:
    """The twin of the role train: the same key is the same job; each is over once `let` says so."""

    def __init__(self) -> None:
        self.submitted: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.cancelled: list[str] = []
        self.reports: dict[str, dict[str, Any]] = {}
        self.let = True
        self._ids = itertools.count(1)

    async def submit(self, kind: str, request: Mapping[str, Any], key: str) -> dict[str, Any]:
        self.asked.append((kind, key))
        if key not in self.submitted:
            job = {"id": f"{kind}-{next(self._ids)}", "kind": kind, "request": dict(request), "error": ""}
            self.submitted[key] = job
        if self.submitted[key]["request"] != dict(request):
            raise StepFailed("this Idempotency-Key was used for another request")
        return await self.get(kind, self.submitted[key]["id"])

    async def get(self, kind: str, job: str) -> dict[str, Any]:
        found = next(one for one in self.submitted.values() if one["id"] == job)
        if job in self.cancelled:
            return {**found, "state": "cancelled"}
        return {**found, "state": "done" if self.let else "running", "report": self.reports.get(kind, {})}

    async def cancel(self, kind: str, job: str) -> None:
        self.cancelled.append(job)


class MemoryFleet:
    """The twin of the coordinators: answers what the log's operations ask for."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.serves = {"p": 3}
        self.bad: dict[str, str] = {}
        self.answering = True

    def active(self, model: str) -> int:
        return self.serves.get(model, 0)

    def refused(self, model: str, version: int) -> bool:
        return False

    def answer(self, operation: str) -> Answer | None:
        for asked in self._log.operations:
            if asked.id == operation and self.answering:
                if operation in self.bad:
                    return Answer("given up", asked.version, self.bad[operation], 1)
                canary = asked.kind == Operation.DEPLOY and asked.canary_share > 0
                if not canary:
                    self.serves[asked.model] = asked.version
                return Answer("canary" if canary else "active", asked.version, "2 of 2 workers ready", 1)
        return None

    async def changed(self) -> None:
        await asyncio.sleep(0)


class MemoryWeb:
    """The twin of the web: what was posted, by whom; `refusing` is raised."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.refusing: Exception | None = None

    async def post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> int:
        self.posts.append((url, dict(body), dict(headers)))
        if self.refusing is not None:
            raise self.refusing
        return 200

    def callback(self, key: str) -> tuple[str, str]:
        return f"http://rules/{key}", f"token of {key}"


class MemoryPrograms:
    """The twin of processes: what was run; each ends when `let` is set."""

    def __init__(self) -> None:
        self.ran: list[tuple[tuple[str, ...], dict[str, str]]] = []
        self.stopped = 0
        self.code = 0
        self.let = asyncio.Event()
        self.let.set()

    async def run(self, command: tuple[str, ...], env: Mapping[str, str], log: str) -> int:
        self.ran.append((command, dict(env)))
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return self.code

    def tail(self, log: str) -> str:
        return "said"


TRAINED = {
    "model": "p", "unit": "", "error_name": "mean error", "best": 1, "digest": "d", "seconds": 1.0,
    "parts": {
        name: {"examples": 10, "error": 0.5, "metrics": {"rmse": 0.6}, "baselines": {"mean": 1.0}}
        for name in ("train", "validation", "test")
    },
}  # fmt: skip
COMPARED = {
    "examples": 10, "candidate": {"error": 0.5, "metrics": {"rmse": 0.6}}, "champion": {"error": 1.0, "metrics": {}},
    "version": 3, "baselines": {"mean": 1.0},
}  # fmt: skip


class Stage:
    """A pipeline's rules over twins; `role` starts another role on the same log, as after a crash."""

    def __init__(self, *steps: dict[str, Any], **more: Any) -> None:
        asked = {"name": "r", "when": [{"call": True}], **more}
        self.rule = RuleSpec(**asked, steps=steps)
        self.log = MemoryLog()
        self.jobs, self.fleet, self.web = MemoryJobs(), MemoryFleet(self.log), MemoryWeb()
        self.programs = MemoryPrograms()
        self.jobs.reports = {
            "jobs": TRAINED, "evaluations": COMPARED, "hand-overs": {"version": 4},
            "studies": {
                "best": {"settings": {"schedule.start": 2.0}, "error": 0.4}, "first": {"error": 0.5},
                "trials": [{}, {}], "test": {},
            },
        }  # fmt: skip

    def role(self, keep: int = 100) -> Rules:
        world = World(self.jobs, self.fleet, self.web, self.programs)
        made = Rules("p", [self.rule], self.log.claimed(), world, keep=keep)
        made.restore(*self.log.recovered())
        return made
