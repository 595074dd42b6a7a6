"""Examples flow while join and trainer are killed, checkpoints damaged, and labels come in storms, as a seed says.

Afterwards: every labelled event is an example once, every bad example a dead letter once, versions rise, and the
weights are, bit for bit, those of a learner that was never interrupted. HEADRACE_FAULT_SEED repeats a schedule.
"""

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from headrace.platform import LocalPlatform
from tests.conftest import Kafka
from tests.faults.learning.flow import Flow
from tests.faults.learning.line import Line
from tests.faults.stream import report
from tests.unit.trainer.world_kit import digest

PER_SECOND = 600


def seed(fixed: int) -> int:
    """The seed that the environment names, to repeat a run; else the fixed one."""
    return int(os.environ.get("HEADRACE_FAULT_SEED") or fixed)


def run(
    kafka: Any, folder: Path, number: int, kinds: list[str], *, pause: float, own: LocalPlatform | None = None
) -> str:
    """Let it happen, and check; returns the counts, for people."""
    begun, dice = time.monotonic(), random.Random(number)
    line = Line(kafka, folder, number, own)
    flow = Flow(kafka, line.name, number, PER_SECOND)
    try:
        line.ready()
        flow.start()
        for kind in kinds:
            time.sleep(dice.uniform(0.2, pause))
            print(f"{time.monotonic() - begun:6.1f} s, {len(flow.keys)} events: {kind}", flush=True)
            line.strike(kind, flow)
        flow.stop()
        examples = line.examples(len(flow.keys))
        line.drain(max_offsets(examples))
    finally:
        flow.stop()
        line.kill()
    assert Counter((m.key() or b"").decode() for m in examples) == Counter(flow.keys), "each example once"
    letters = line.letters(len(flow.bad))
    assert sorted(letter.key.decode() for letter in letters) == sorted(flow.bad), "each bad one is a dead letter once"
    newest, versions = line.newest(), [event.version for event in line.announced()]
    assert versions == sorted(set(versions))
    assert newest.header.examples == len(flow.keys) - len(flow.bad)
    assert line.uninterrupted(examples) == digest(newest), "the weights of an uninterrupted run, bit for bit"
    done = ", ".join(f"{kind} {count}" for kind, count in sorted(line.done.items()))
    seconds = time.monotonic() - begun
    return (
        f"learning, seed {number}: {sum(line.done.values())} faults ({done}) over {len(flow.keys)} events "
        f"in {seconds:.0f} s: {len(versions)} versions, {line.damaged} damaged files, {len(letters)} dead letters, "
        f"the same weights"
    )


def max_offsets(examples: list[Any]) -> int:
    """The sum over partitions of the offset after the last example."""
    ends: dict[int, int] = {}
    for message in examples:
        ends[message.partition()] = max(ends.get(message.partition(), 0), message.offset() + 1)
    return sum(ends.values())


def test_a_few_faults_change_neither_examples_nor_weights(kafka: Any, tmp_path: Path, record_property: Any) -> None:
    record_property(report.NAME, run(kafka, tmp_path, seed(11), ["both", "storm", "damage"], pause=0.6))


def test_two_ranks_go_on_to_the_same_weights_when_one_is_killed_or_the_broker_is(
    own: LocalPlatform, tmp_path: Path, record_property: Any
) -> None:
    kafka = Kafka(own.endpoints.kafka_bootstrap_servers)
    record_property(report.NAME, run(kafka, tmp_path, seed(13), ["rank", "broker"], pause=0.6, own=own))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_faults_change_neither_examples_nor_weights(kafka: Any, tmp_path: Path, record_property: Any) -> None:
    dice = random.Random(seed(12))
    kinds = [kind for _ in range(6) for kind in dice.sample(Line.KINDS, len(Line.KINDS))]
    record_property(report.NAME, run(kafka, tmp_path, seed(12), kinds, pause=3.0))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_faults_change_nothing_for_two_ranks(own: LocalPlatform, tmp_path: Path, record_property: Any) -> None:
    dice = random.Random(seed(14))
    kinds = [kind for _ in range(3) for kind in dice.sample(Line.OF_RANKS, len(Line.OF_RANKS))]
    kafka = Kafka(own.endpoints.kafka_bootstrap_servers)
    record_property(report.NAME, run(kafka, tmp_path, seed(14), kinds, pause=3.0, own=own))
