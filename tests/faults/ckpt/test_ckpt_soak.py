"""Many swaps in the same processes: memory, file descriptors, mappings and shared memory stay what they were."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from headrace.weights import agent_socket, open_store
from tests.integration.ckpt.fleet import Fleet, Process

WORKERS = 2
KEPT = 4
SLOTS = 4
"""What an agent makes at most, by default. The last one comes when a worker lets go late: in the long form, sooner or
later."""


@dataclass(frozen=True)
class Use:
    """What the processes hold; `memory` is in KiB and each process's own, without shared memory."""

    memory: dict[str, int]
    descriptors: dict[str, int]
    mappings: dict[str, int]
    threads: dict[str, int]
    slots: dict[str, int]
    """Of shared memory: the bytes of each."""


def use(fleet: Fleet, processes: dict[str, Process]) -> Use:
    found = {name: psutil.Process(process.child.pid) for name, process in processes.items()}
    memory = {name: process.memory_info() for name, process in found.items()}
    run = f"{zlib.crc32(str(agent_socket(fleet.settings)).encode()):08x}"
    slots = [path for folder in Path("/dev/shm").glob(f"*{run}*") for path in folder.glob("slot-*")]
    return Use(
        {name: (of.rss - of.shared) >> 10 for name, of in memory.items()},
        {name: process.num_fds() for name, process in found.items()},
        {
            name: sum("/slot-" in of.path for of in process.memory_maps(grouped=False))
            for name, process in found.items()
        },
        {name: process.num_threads() for name, process in found.items()},
        {path.name: path.stat().st_size for path in slots},
    )


def soak(fleet: Fleet, swaps: int, between: Callable[[int], None] = lambda _: None) -> list[Use]:
    """Swap so many times, and return what the processes held after each third; `between` is called before each swap."""
    coordinator = fleet.coordinator(
        "coordinator", "--keep-versions", str(KEPT), "--sweep-every-s", "0.5", "--sweep-grace-s", "5"
    )  # fmt: skip
    workers = {f"w{n}": fleet.worker(f"w{n}") for n in range(WORKERS)}
    processes = {"coordinator": coordinator, "agent": fleet.agent(), **workers}
    store = open_store(fleet.settings)
    uses = []
    for version in range(1, swaps + 1):
        between(version)
        fleet.announce(fleet.put(version, store))
        for worker in workers.values():
            worker.expect(version=version)
        if version in {swaps // 3, 2 * swaps // 3, swaps}:
            uses.append(use(fleet, processes))
            print(f"after {version} swaps: {uses[-1]}")
    store.close()
    for name, worker in workers.items():
        assert worker.stop() == 0
        served = worker.expect(wrong=0)
        print(f"{name}: {served}")
        assert served["requests"] > 0
    return uses


@pytest.mark.parametrize(
    "swaps", [150, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])], ids=["short", "long"]
)
def test_processes_hold_no_more_after_many_swaps_than_after_some(fleet: Fleet, swaps: int) -> None:
    """Two workers, the agent and the coordinator; and every answer was of the version that was bound."""
    first, before, after = soak(fleet, swaps)
    assert len(after.slots) <= SLOTS
    assert set(after.slots.values()) == set(first.slots.values())
    new = {"agent": len(after.slots) - len(first.slots)}
    for name in after.memory:
        # The agent holds a slot's file, and by another descriptor its mapping.
        assert after.descriptors[name] <= first.descriptors[name] + 1 + 2 * new.get(name, 0), name
        assert after.mappings[name] <= first.mappings[name] + 1 + new.get(name, 0), name
        assert after.threads[name] <= first.threads[name] + 1, name
        # What an allocator keeps grows in steps at first; what leaks grows by as much in each third, for ever.
        assert after.memory[name] - before.memory[name] <= 1024 + swaps // 3 * 0.5, name
