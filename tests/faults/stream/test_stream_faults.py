"""Numbered events while workers, versions, transactions and the broker fail on a seeded schedule.

Afterwards, reading committed: no event unseen, none predicted twice, every key's in order, and the dead letters are
exactly the bad records, whatever version was served. The long form (`make faults`) has four faults of each kind over a
million events; the short ones are part of `make test`. Both tell counts and seed, also when they pass;
HEADRACE_FAULT_SEED repeats a schedule.
"""

import os
import random
import signal
import time

import pytest

from tests.conftest import Kafka
from tests.faults.stream import report
from tests.faults.stream.chaos import Chaos
from tests.faults.stream.flood import Flood
from tests.faults.stream.report import Report
from tests.patience import WAIT_S
from tests.stream_kit import Outcome, PipelineRun

SHORT = 3


def seeds(fixed: int) -> list[int]:
    """The seed that the environment names, to repeat a run; else a fixed one and a fresh one."""
    named = os.environ.get("HEADRACE_FAULT_SEED")
    return [int(named)] if named else [fixed, random.SystemRandom().randrange(1_000_000)]


def schedule(dice: random.Random, faults: int) -> list[str]:
    """Kinds of faults: each as often as the others, as far as that goes."""
    deck: list[str] = []
    while len(deck) < faults:
        deck += dice.sample(Chaos.KINDS, len(Chaos.KINDS))
    return deck[:faults]


def run(own, folder, seed: int, *, faults: int, events: int, per_second: int, pause: float) -> Report:
    begun, dice = time.monotonic(), random.Random(seed)
    kinds = schedule(dice, faults)
    print(f"HEADRACE_FAULT_SEED={seed} repeats this: {', '.join(kinds)}", flush=True)
    with PipelineRun(Kafka(own.endpoints.kafka_bootstrap_servers), folder) as river:
        chaos, flood = Chaos(river, own, seed), Flood(river, seed, events, per_second)
        flood.start()
        try:
            for kind in kinds:
                time.sleep(dice.uniform(0.2, pause))
                print(f"{time.monotonic() - begun:6.1f} s, {flood.events} events: {kind}", flush=True)
                chaos.strike(kind)
            flood.finish(600)
            outcome = drained(river, chaos, flood)
        except BaseException:
            for worker in chaos.workers:
                worker.signal(signal.SIGUSR1)
            print(river.logs())
            raise
        found = Report.of(outcome, chaos, flood, seed=seed, seconds=time.monotonic() - begun)
        if not found.well:
            print(river.logs())
        return found


def drained(river: PipelineRun, chaos: Chaos, flood: Flood) -> Outcome:
    """What is on the sink when nothing more comes; workers that end meanwhile are restarted."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and river.committed() < river.size():
        chaos.tend()
        time.sleep(0.2)
    return river.read(flood.events, len(flood.bad), timeout=WAIT_S)


@pytest.mark.parametrize("seed", seeds(115), ids=["fixed", "fresh"][: len(seeds(115))])
def test_a_few_faults_lose_and_repeat_nothing(own, tmp_path, record_property, seed):
    found = run(own, tmp_path, seed, faults=SHORT, events=15_000, per_second=3000, pause=0.5)
    record_property(report.NAME, str(found))
    assert found.well, found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_faults_lose_and_repeat_nothing(own, tmp_path, record_property):
    faults = 4 * len(Chaos.KINDS)
    found = run(own, tmp_path, seeds(20)[0], faults=faults, events=1_000_000, per_second=2500, pause=3.0)
    record_property(report.NAME, str(found))
    assert found.well, found
