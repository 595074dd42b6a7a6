"""The runs of one pipeline's rules: triggers in, steps done one after the other, every change durable before it counts.

One event loop, and one record at a time. For each change of a run: copy it, change the copy, write it with all that
belongs to it in one transaction, then let it take the run's place. So what is in memory was always recorded, and a role
that takes over goes on with exactly that.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from headrace.contracts.events_pb2 import Alert, DatasetVersion, Operation
from headrace.contracts.records import RuleRecord
from headrace.contracts.rule_records import RuleMemory, RuleRun, RuleStep, RuleTrigger, RunState, StepState
from headrace.rules import life
from headrace.rules.admission import Verdict, remember, verdict
from headrace.rules.describe import shown_run
from headrace.rules.effects.port import StepContext, StepFailed, World
from headrace.rules.effects.table import EFFECTS
from headrace.rules.spec import RuleSpec
from headrace.rules.triggers import on_alert, on_dataset, on_error, on_labels, on_time
from headrace.runtime.errors import HeadraceError
from headrace.runtime.logging import get_logger
from services.rules import metrics
from services.rules.errors import ConflictError, UnknownError

log = get_logger("headrace.rule")

Positions = dict[str, dict[int, int]]
T = TypeVar("T")
JOB_KINDS = ("jobs", "studies", "evaluations", "hand-overs")
_PROGRESS_S = 0.5


class Log(Protocol):
    """Where runs are recorded; see `services.rules.kafka.RulesLog.write`."""

    def write(
        self,
        records: Mapping[str, RuleRecord | None],
        operations: Sequence[Operation] = (),
        alerts: Sequence[Alert] = (),
    ) -> None:
        """All of it in one transaction, durable when this returns."""
        ...


def now_us() -> int:
    """µs since the epoch."""
    return time.time_ns() // 1000


class Rules:
    """All rules and runs of a pipeline.

    Args:
        pipeline: its name.
        rules: as pipeline.yaml has them.
        log: where runs are recorded.
        world: what steps reach.
        keep: runs that are kept once they are over.

    Attributes:
        runs: by id, the oldest first.
        failure: set when this process must not go on.
    """

    def __init__(self, pipeline: str, rules: Iterable[RuleSpec], log: Log, world: World, *, keep: int) -> None:
        self.pipeline, self.rules = pipeline, {rule.name: rule for rule in rules}
        self._log, self._world, self._keep = log, world, keep
        self.runs: dict[str, RuleRun] = {}
        self.memories: dict[str, RuleMemory] = {}
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._positions: Positions = {}
        self._progress: dict[str, dict[int, dict[str, Any]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lock, self._changed = asyncio.Lock(), asyncio.Event()

    # Life.

    def restore(self, runs: Mapping[str, RuleRun], memories: Mapping[str, RuleMemory]) -> None:
        """Go on with what the roles before recorded: runs that are not over, each at the step where it was."""
        self.runs = dict(sorted(runs.items(), key=lambda item: item[1].started_us))
        self.memories = dict(memories)
        for run in list(self.runs.values()):
            if not run.state.over:
                log.info("run goes on", rule=run.rule, run=run.id, state=str(run.state))
                self._drive(run.id)
        self._count()

    async def begin(self, positions: Positions) -> None:
        """Record from where triggers are read, so that none is passed over whatever happens next."""
        async with self._lock:
            await self._write({"positions": RuleRecord(positions=positions)})
        self._positions = positions

    async def close(self) -> None:
        """Stop what is being done; the next role goes on with it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tell()

    # Triggers.

    async def on_records(self, records: Iterable[tuple[Alert | DatasetVersion, int]], positions: Positions) -> None:
        """Take records that may be triggers, up to the positions."""
        found = []
        for record, at_us in records:
            for rule in self.rules.values():
                made = on_alert(rule, record, at_us) if isinstance(record, Alert) else on_dataset(rule, record, at_us)
                found += [(rule, made)] if made is not None else []
        moved = positions != self._positions
        if found or moved:
            await self._consider(found, {}, positions)

    async def on_figures(self, labels: int | None, errors: dict[str, float]) -> None:
        """Look at the labels topic's ends, at the errors and at the clock."""
        now = now_us()
        found: list[tuple[RuleSpec, RuleTrigger]] = []
        memories: dict[str, RuleMemory] = {}
        for rule in self.rules.values():
            memory = self._memory(rule.name)
            made = [*on_error(rule, memory, errors, now), *on_time(rule, memory, now)]
            made += on_labels(rule, memory, labels, now) if labels is not None else []
            found += [(rule, trigger) for trigger in made]
            if memory != self.memories.get(rule.name):
                memories[rule.name] = memory
        if found or memories:
            await self._consider(found, memories)

    async def trigger(self, name: str, key: str, by: str, details: dict[str, Any]) -> tuple[RuleRun, bool]:
        """Begin a run because somebody asks; the run, and whether it is new: the same key is the same run.

        Raises:
            UnknownError: there is no such rule.
            ConflictError: the rule's cooldown or its limit of runs speaks against it.
        """
        rule = self.rule(name)
        identity = f"call/{key}"
        if (same := self.runs.get(life.run_id(self.pipeline, name, identity))) is not None:
            return same, False
        what = f"called by {by}" if by else "called"
        asked = RuleTrigger(kind="call", what=what, identity=identity, at_us=now_us(), by=by, details=details)
        ((verdict, run),) = await self._consider([(rule, asked)], {})
        if run is None:
            why = {
                "busy": f"as many runs as may are not over (at_most: {rule.at_most})",
                "duplicate": "this Idempotency-Key began a run that is not kept any more",
            }
            raise ConflictError(why.get(verdict, f"the rule's cooldown of {rule.cooldown_s:g} s is not over"))
        return run, True

    async def _consider(
        self,
        found: Iterable[tuple[RuleSpec, RuleTrigger]],
        memories: dict[str, RuleMemory],
        positions: Positions | None = None,
    ) -> list[tuple[Verdict, RuleRun | None]]:
        """Begin the runs that triggers may begin: runs, what is remembered and positions in one transaction."""
        return await self._to_its_end(self._consider_now(list(found), memories, positions))

    async def _consider_now(
        self,
        found: list[tuple[RuleSpec, RuleTrigger]],
        memories: dict[str, RuleMemory],
        positions: Positions | None,
    ) -> list[tuple[Verdict, RuleRun | None]]:
        async with self._lock:
            now, begun, verdicts = now_us(), dict[str, RuleRun](), list[tuple[Verdict, RuleRun | None]]()
            for rule, trigger in found:
                memory = memories.setdefault(rule.name, self._memory(rule.name))
                running = [run for run in (*self.runs.values(), *begun.values()) if run.rule == rule.name]
                verdicted = verdict(rule, memory, [run for run in running if not run.state.over], trigger)
                remember(memory, trigger, verdicted, now)
                run = life.begin_run(rule, self.pipeline, trigger, now) if verdicted == "admitted" else None
                verdicts.append((verdicted, run))
                begun.update({run.id: run} if run is not None else {})
                metrics.TRIGGERS.labels(rule.name, verdicted).inc()
                log.info("trigger", rule=rule.name, what=trigger.what, verdict=verdicted, run=run.id if run else "")
            records = {f"run/{run.id}": RuleRecord(run=run) for run in begun.values()}
            records |= {f"rule/{name}": RuleRecord(memory=memory) for name, memory in memories.items()}
            records |= {"positions": RuleRecord(positions=positions)} if positions is not None else {}
            await self._write(records)
            self.runs |= begun
            self.memories |= memories
            self._positions = positions or self._positions
        for run_id in begun:
            self._drive(run_id)
        self._tell()
        return verdicts

    def _memory(self, rule: str) -> RuleMemory:
        """A copy of what is remembered of a rule."""
        known = self.memories.get(rule)
        return msgspec.convert(msgspec.to_builtins(known), RuleMemory) if known else RuleMemory(rule=rule)

    # Asking.

    def rule(self, name: str) -> RuleSpec:
        """The rule of a name.

        Raises:
            UnknownError: there is none.
        """
        if (rule := self.rules.get(name)) is None:
            known = ", ".join(self.rules) or "none"
            raise UnknownError(f"no rule {name!r}: there are {known}")
        return rule

    def run(self, run_id: str) -> RuleRun:
        """The run of an id.

        Raises:
            UnknownError: there is none.
        """
        if (run := self.runs.get(run_id)) is None:
            raise UnknownError(f"no run {run_id!r}")
        return run

    def shown(self, run_id: str) -> dict[str, Any]:
        """A run as REST answers it.

        Raises:
            UnknownError: there is none.
        """
        return shown_run(self.run(run_id), self._progress.get(run_id, {}))

    async def follow(self, run_id: str | None) -> AsyncIterator[dict[str, Any]]:
        """A run, or each that changes, as it is and after each change, until it is over or the role stops."""
        said: dict[str, dict[str, Any]] = {}
        if run_id is None:
            said = {run: self.shown(run) for run in self.runs}
        while True:
            event = self._changed
            for run in [run_id] if run_id is not None else list(self.runs):
                if run in self.runs and (shown := self.shown(run)) != said.get(run):
                    said[run] = shown
                    yield shown
            if self.failure.done() or (run_id is not None and (run_id not in said or said[run_id]["ended_us"])):
                return
            try:
                async with asyncio.timeout(_PROGRESS_S):
                    await event.wait()
            except TimeoutError:
                continue

    # Persons and call-backs.

    async def approve(self, run_id: str, by: str, comment: str) -> None:
        """A person approves the step that waits.

        Raises:
            UnknownError: there is no such run.
            ConflictError: none of its steps waits.
        """
        self._waits(await self._change(run_id, lambda run: life.approve(run, by, comment, now_us())), run_id)

    async def reject(self, run_id: str, by: str, comment: str) -> None:
        """A person rejects the step that waits; raises as `approve`."""
        self._waits(await self._change(run_id, lambda run: life.reject(run, by, comment, now_us())), run_id)

    def _waits(self, changed: bool, run_id: str) -> None:  # noqa: FBT001 - what the change came to
        if not changed:
            raise ConflictError(f"no step of run {run_id} waits for a person: it is {self.run(run_id).state}")
        self._drive(run_id)

    async def cancel(self, run_id: str, by: str, comment: str) -> None:
        """A person cancels a run: what its step does is stopped first.

        Raises:
            UnknownError: there is no such run.
            ConflictError: its steps are over.
        """

        def mark(run: RuleRun) -> bool:
            if run.outcome is not None or run.state.over:
                return False
            run.cancelled_by, run.reason = by, comment
            return True

        if not await self._change(run_id, mark):
            raise ConflictError(f"the steps of run {run_id} are over: it is {self.run(run_id).state}")
        if (task := self._tasks.pop(run_id, None)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._drive(run_id)

    async def called_back(self, run_id: str, number: int, called: dict[str, Any]) -> None:
        """Somebody says what the step of a webhook came to. The same again changes nothing.

        Raises:
            UnknownError: there is no such run or step.
            ConflictError: the step waits for no call-back, or was told something else.
        """
        run = self.run(run_id)
        step = run.steps[number - 1] if 0 < number <= len(run.steps) else None
        if step is None or step.kind != "webhook" or not step.spec["wait"]:
            raise UnknownError(f"run {run_id} has no step {number} that waits for a call-back")

        def call(run: RuleRun) -> bool:
            step = run.steps[number - 1]
            if step.state is not StepState.RUNNING or step.phase.get("called", called) != called:
                return step.phase.get("called") == called
            step.phase["called"] = called
            return True

        if not await self._change(run_id, call):
            raise ConflictError(f"step {number} of run {run_id} is {self.run(run_id).steps[number - 1].state}")

    # Doing.

    def _drive(self, run_id: str) -> None:
        """See that a run goes on."""
        if (task := self._tasks.get(run_id)) is None or task.done():
            self._tasks[run_id] = asyncio.create_task(self._go_on(run_id), name=f"run {run_id}")

    async def _go_on(self, run_id: str) -> None:
        try:
            await self._finish_cancelling(run_id)
            while (step := life.current(self.runs[run_id])) is not None and step.state is StepState.RUNNING:
                await self._do(run_id, step)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - recording failed: the process must not go on
            if not self.failure.done():
                self.failure.set_exception(error)
        finally:
            self._progress.pop(run_id, None)

    async def _finish_cancelling(self, run_id: str) -> None:
        """Of a run that a person cancels: stop the job of its step, then record that the step is cancelled."""
        run = self.runs[run_id]
        step = life.current(run)
        if not run.cancelled_by or run.outcome is not None or step is None:
            return
        await self._cancel_jobs(step)
        await self._change(run_id, lambda run: life.cancel(run, run.cancelled_by, run.reason, now_us()))

    async def _cancel_jobs(self, step: RuleStep) -> None:
        for kind in JOB_KINDS:
            if (job := step.phase.get(kind)) is not None:
                await self._world.jobs.cancel(kind, job)

    async def _do(self, run_id: str, step: RuleStep) -> None:
        """Do a step, and record what came of it together with the beginning of the next."""
        progress = self._progress.setdefault(run_id, {}).setdefault(step.number, {})
        ctx = StepContext(lambda: self.runs[run_id], step.number, self._recorder(run_id, step.number), now_us, progress)
        left_s = step.timeout_s - (now_us() - step.started_us) / 1e6
        log.info("step", run=run_id, number=step.number, kind=step.kind, phase=step.phase)
        result, error = dict[str, Any](), ""
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                result = await EFFECTS[step.kind](ctx, self._world)
        except TimeoutError:
            error = f"not done within {step.timeout_s:g} s"
            await self._cancel_jobs(ctx.step)
        except StepFailed as failed:
            error = str(failed)
        except HeadraceError:
            raise
        except Exception as crash:
            log.exception("a step crashed", run=run_id, number=step.number)
            error = f"internal error: {type(crash).__name__}: {crash}"
        number, now = step.number, now_us()
        if error:
            await self._change(run_id, lambda run: life.fail(run, number, error, now))
        else:
            await self._change(run_id, lambda run: life.finish(run, number, result, now))
        state = str(self.runs[run_id].steps[number - 1].state)
        metrics.STEPS.labels(step.kind, state).observe((now - step.started_us) / 1e6)
        log.info("step is over", run=run_id, number=number, kind=step.kind, state=state, error=error)

    def _recorder(self, run_id: str, number: int) -> Any:
        async def record(
            changes: Mapping[str, Any], operation: Operation | None = None, alert: Alert | None = None
        ) -> None:
            def change(run: RuleRun) -> None:
                run.steps[number - 1].phase |= changes

            await self._change(run_id, change, operation, alert)

        return record

    # Recording.

    async def _change(
        self,
        run_id: str,
        change: Callable[[RuleRun], bool | None],
        operation: Operation | None = None,
        alert: Alert | None = None,
    ) -> bool:
        """Change a run: durable when this returns. False, and nothing is written, if `change` says so."""
        return await self._to_its_end(self._change_now(run_id, change, operation, alert))

    async def _change_now(
        self,
        run_id: str,
        change: Callable[[RuleRun], bool | None],
        operation: Operation | None,
        alert: Alert | None,
    ) -> bool:
        async with self._lock:
            run = life.copy_of(self.run(run_id))
            if change(run) is False:
                return False
            run.changed_us = now_us()
            records: dict[str, RuleRecord | None] = {f"run/{run_id}": RuleRecord(run=run)}
            memory, gone = None, list[str]()
            if run.state.over:
                memory = self._memory(run.rule)
                memory.ended_us, gone = run.ended_us, self._too_old(run_id)
                records |= {f"rule/{run.rule}": RuleRecord(memory=memory), **{f"run/{old}": None for old in gone}}
            await self._write(records, operation, alert)
            self.runs[run_id] = run
            if memory is not None:
                self.memories[run.rule] = memory
                metrics.ENDED.labels(run.rule, str(run.state)).inc()
                log.info("run is over", run=run_id, rule=run.rule, state=str(run.state), reason=run.reason)
            for old in gone:
                del self.runs[old]
        self._tell()
        return True

    def _too_old(self, ending: str) -> list[str]:
        over = [run.id for run in self.runs.values() if run.state.over and run.id != ending]
        return over[: max(0, len(over) + 1 - self._keep)]

    async def _write(
        self,
        records: Mapping[str, RuleRecord | None],
        operation: Operation | None = None,
        alert: Alert | None = None,
    ) -> None:
        operations, alerts = [operation] if operation is not None else [], [alert] if alert is not None else []
        await asyncio.to_thread(self._log.write, records, operations, alerts)

    async def _to_its_end(self, recording: Coroutine[Any, Any, T]) -> T:
        """Do it to its end even where the caller is cancelled meanwhile: memory says what was recorded, always.

        What Kafka refuses ends the process, whoever the caller was.
        """
        work = asyncio.ensure_future(recording)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            self._fail(work.exception())
            raise
        except HeadraceError as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException | None) -> None:
        if isinstance(error, HeadraceError) and not self.failure.done():
            self.failure.set_exception(error)

    def _tell(self) -> None:
        """Wake whoever follows."""
        self._count()
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    def _count(self) -> None:
        for state in (RunState.RUNNING, RunState.WAITING):
            metrics.OPEN.labels(str(state)).set(sum(run.state is state for run in self.runs.values()))
