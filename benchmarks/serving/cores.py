"""Who runs on which cores."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Cores:
    """The servers' cores and the load's; the same for every contestant."""

    servers: tuple[int, ...]
    load: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Whether the load takes time from the servers."""
        return bool(set(self.servers) & set(self.load))

    def __str__(self) -> str:
        """As the table tells it."""
        named = f"servers on cores {_list(self.servers)}, the load on {_list(self.load)}"
        return f"{named}, which they share" if self.shared else named


def busy_s(cores: Sequence[int]) -> float:
    """Time so far, in s, that these cores were at work for anybody, or that the host took from them."""
    every = psutil.cpu_times(percpu=True)
    return sum(sum(every[core]) - every[core].idle - every[core].iowait - every[core].guest for core in cores)


def _list(cores: Sequence[int]) -> str:
    return ",".join(map(str, cores))


def divide(*, shared: bool = False) -> Cores:
    """A quarter of this process's cores, at least one, for the load; the rest for the server under test.

    Args:
        shared: all cores for both.
    """
    mine = sorted(os.sched_getaffinity(0))
    if shared or len(mine) == 1:
        return Cores(tuple(mine), tuple(mine))
    load = max(1, len(mine) // 4)
    return Cores(tuple(mine[:-load]), tuple(mine[-load:]))


def pinned(cores: Sequence[int], line: Sequence[str]) -> list[str]:
    """The command, on these cores.

    Raises:
        FileNotFoundError: there is no taskset (util-linux).
    """
    taskset = shutil.which("taskset")
    if taskset is None:
        raise FileNotFoundError("taskset, of util-linux, is needed to give servers and load their cores")
    return [taskset, "--cpu-list", _list(cores), *line]
