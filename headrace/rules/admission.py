"""Whether a trigger begins a run: no storms.

A trigger that was seen before is a duplicate. Within the cooldown after the beginning of a rule's newest run, or while
as many runs as may are not over, it is dropped: it begins no run later either.
"""

from collections.abc import Collection
from typing import Literal

from headrace.contracts.rule_records import RuleMemory, RuleRun, RuleTrigger
from headrace.rules.spec import RuleSpec

SEEN = 500
"""So many of the newest identities are remembered of each rule."""

Verdict = Literal["admitted", "duplicate", "busy", "cooldown"]


def verdict(rule: RuleSpec, memory: RuleMemory, running: Collection[RuleRun], trigger: RuleTrigger) -> Verdict:
    """What becomes of a trigger, given the rule's runs that are not over."""
    if trigger.identity in memory.seen:
        return "duplicate"
    if len(running) >= rule.at_most:
        return "busy"
    if rule.cooldown_s and memory.started_us and trigger.at_us < memory.started_us + rule.cooldown_s * 1e6:
        return "cooldown"
    return "admitted"


def remember(memory: RuleMemory, trigger: RuleTrigger, found: Verdict, now_us: int) -> None:
    """Note what became of a trigger."""
    if found == "admitted":
        memory.started_us = now_us
    else:
        memory.suppressed[found] = memory.suppressed.get(found, 0) + 1
    if found != "duplicate":
        memory.seen = [*memory.seen, trigger.identity][-SEEN:]
