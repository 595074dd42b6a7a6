"""What headrace.rules holds, in JSON: runs of rules, what is remembered of each rule, and how far triggers were read.

Additive only, as the system events are: every later field has a default, and readers skip fields that they do not know.
Times are µs since the epoch, 0 for not yet.
"""

from enum import StrEnum
from typing import Any

import msgspec


class RunState(StrEnum):
    """Where in its life a run is. `waiting`: a step waits for a person's approval."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self in (RunState.DONE, RunState.FAILED, RunState.CANCELLED)


class StepState(StrEnum):
    """Where in its life a step is. `skipped`: the run ended before its turn."""

    PENDING = "pending"
    APPROVAL = "approval"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (StepState.PENDING, StepState.APPROVAL, StepState.RUNNING)


class RuleTrigger(msgspec.Struct, kw_only=True):
    """Why a run began.

    `kind` is that of the condition: alert, error, dataset, schedule, labels or call; `what` says it to people. No run
    of a rule begins twice for one `identity`. `by` is who asked, of a call.
    """

    kind: str
    what: str
    identity: str
    at_us: int
    by: str = ""
    details: dict[str, Any] = {}


class Approval(msgspec.Struct, kw_only=True):
    """What a person said to a step that waited: "approved" or "rejected", who, when, and why."""

    verdict: str
    by: str
    at_us: int
    comment: str = ""


class RuleStep(msgspec.Struct, kw_only=True):
    """One step of a run.

    Attributes:
        number: from 1.
        part: "steps"; or "on failure" or "then", of what follows them.
        kind: train, tune, evaluate, gate, deploy, command, webhook, alert or roll back.
        name: for people.
        spec: the step's own section of pipeline.yaml, as it was when the run began.
        key: the idempotency key of its effect, the same however often it is tried.
        approve: a person has to approve before it begins.
        timeout_s: after which it has failed.
        phase: how far its effect is, durable: what it must not do again.
        result: what it came to.
    """

    number: int
    part: str
    kind: str
    name: str
    spec: dict[str, Any]
    key: str
    approve: bool = False
    timeout_s: float = 0.0
    state: StepState = StepState.PENDING
    started_us: int = 0
    ended_us: int = 0
    phase: dict[str, Any] = {}
    result: dict[str, Any] = {}
    error: str = ""
    approval: Approval | None = None


class RuleRun(msgspec.Struct, kw_only=True):
    """A run of a rule as of its last change.

    `then` and `on_failure` are the rule's own, as they were when the run began. `outcome` is known once the steps are
    over, `state` says it once everything is.
    """

    id: str
    pipeline: str
    rule: str
    trigger: RuleTrigger
    started_us: int
    steps: list[RuleStep]
    then: list[dict[str, Any]] = []
    on_failure: str = "notify"
    state: RunState = RunState.RUNNING
    outcome: RunState | None = None
    reason: str = ""
    cancelled_by: str = ""
    ended_us: int = 0
    changed_us: int = 0


class RuleMemory(msgspec.Struct, kw_only=True):
    """What is remembered of a rule between its runs.

    Attributes:
        started_us, ended_us: of the newest run.
        seen: the newest identities of triggers that were taken or refused.
        scheduled_us: by condition, the last time of its schedule that was looked at.
        labels: by condition, the offsets' sum from which its labels are counted.
        above: by condition, since when the error is above it; 0 where it is not; -1 once that was told.
        suppressed: how many triggers were refused, by reason: cooldown, busy or duplicate.
    """

    rule: str
    started_us: int = 0
    ended_us: int = 0
    seen: list[str] = []
    scheduled_us: dict[int, int] = {}
    labels: dict[int, int] = {}
    above: dict[int, int] = {}
    suppressed: dict[str, int] = {}


class RuleRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record of headrace.rules: one of these. `positions`: by topic and partition, the next offset of triggers."""

    run: RuleRun | None = None
    memory: RuleMemory | None = None
    positions: dict[str, dict[int, int]] | None = None
