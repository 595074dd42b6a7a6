"""From a checkpoint's event to every worker serving it, and what the workers' requests notice meanwhile."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.weights.worker import state_of
from headrace.contracts.events_pb2 import CheckpointPublished
from headrace.contracts.topics import CHECKPOINTS, model_partition, system_topics
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings
from headrace.weights import agent_socket, checkpoint_event, open_store, publish

WORKERS = 2
AFTERMATH_S = 0.05
"""What a swap leaves to be done, such as unmapping the version before the last, counts as its window."""
_PATIENCE_S = 60.0
_STEADY_S = 1.0
_SKIPPED = 5
"""Versions that warm everything up: slots touched, caches filled."""


@dataclass(frozen=True)
class Windows:
    """Latencies in ms of the requests due within some windows of time."""

    requests: int
    p50: float
    p99: float
    worst: float


@dataclass(frozen=True)
class Rollouts:
    """What one fleet did; `event_ms` is from an event's production until the last worker serves its version."""

    size: int
    versions: int
    event_ms: tuple[float, float, float]
    """p50, p99, worst."""
    steady: Windows
    swaps: Windows
    failed_requests: int
    steps_ms: dict[str, float]
    """Medians of a worker's own steps."""


class _Worker:
    """A worker process and the versions that it says it serves."""

    def __init__(self, process: "subprocess.Popen[str]", out: Path) -> None:
        self.process, self.out = process, out
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(json.loads(line))

    def serves(self, version: int) -> dict[str, Any]:
        """Wait until it does.

        Raises:
            queue.Empty: it does not within a minute.
        """
        while (line := self.lines.get(timeout=_PATIENCE_S))["version"] < version:
            pass
        return line

    def requests(self) -> np.ndarray:
        """Stop it, and return what it answered."""
        self.process.terminate()
        self.process.wait(_PATIENCE_S)
        return np.asarray(np.load(self.out))


def rollout(settings: ServiceSettings, model: str, *, rows: int, versions: int, every_s: float, rate: float) -> Rollouts:
    """Announce a version every `every_s` seconds to a fleet whose workers answer `rate` requests/s each."""
    kafka.ensure_topics(settings, system_topics())
    events = list(_publish(settings, model, rows, versions + _SKIPPED))
    producer = kafka.producer(settings, **{"linger.ms": 0})
    took: list[float] = []
    windows: list[tuple[float, float]] = []
    steps: list[dict[str, float]] = []
    with _fleet(settings, model, rows, rate) as workers:
        for n, event in enumerate(events):
            begun = time.time()
            value, partition = event.SerializeToString(), model_partition(model)
            producer.produce(CHECKPOINTS.name(), value, model, partition)
            producer.flush()
            said = [worker.serves(event.version) for worker in workers]
            end = max(line["at"] for line in said)
            if n >= _SKIPPED:
                took.append((end - begun) * 1000)
                windows.append((begun, end + AFTERMATH_S))
                steps += [line["seconds"] for line in said]
            time.sleep(max(0.0, begun + every_s - time.time()))
        time.sleep(_STEADY_S)
        since = windows[0][0] - every_s
        requests = np.concatenate([worker.requests() for worker in workers])
    counted = requests[requests[:, 0] >= since]
    within = _within(counted[:, 0], windows)
    p50, p99, worst = (float(v) for v in np.percentile(took, [50, 99, 100]))
    return Rollouts(
        size=sum(t.nbytes for t in state_of(1, rows).values()),
        versions=len(took),
        event_ms=(p50, p99, worst),
        steady=_windows(counted[~within]),
        swaps=_windows(counted[within]),
        failed_requests=int(requests[:, 2].sum()),
        steps_ms={name: float(np.median([s.get(name, 0.0) for s in steps]) * 1000) for name in sorted(steps[0])},
    )


def _publish(settings: ServiceSettings, model: str, rows: int, versions: int) -> Iterator[CheckpointPublished]:
    """All chunks before the first event, so that a trainer's writing is in nobody's window."""
    store = open_store(settings)
    for version in range(1, versions + 1):
        manifest = publish(
            state_of(version, rows), model=model, version=version, base_version=version - 1, epoch=1, step=version,
            offsets={}, metrics={}, store=store,
        )  # fmt: skip
        yield checkpoint_event(manifest)
    store.close()


@contextmanager
def _fleet(settings: ServiceSettings, model: str, rows: int, rate: float) -> Iterator[list[_Worker]]:
    folder = settings.run_folder
    env = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "REDIS_URL": settings.redis_url,
        "HEADRACE_RUN_DIR": str(folder),
        "HEADRACE_STORAGE_DIR": str(settings.storage_folder),
        "OMP_NUM_THREADS": "1",
    }
    socket = str(agent_socket(settings))
    with ExitStack() as stack:
        for role in ("coordinator", "agent"):
            _start(stack, ["services.ckpt", role], env, folder / f"{model}-{role}.log")
        workers = []
        for n in range(WORKERS):
            out = folder / f"{model}-{n}.npy"
            line = ["benchmarks.weights.worker", socket, model, f"w{n}", str(rows), str(rate), str(out)]
            workers.append(_Worker(_start(stack, line, env, folder / f"{model}-w{n}.log"), out))
        yield workers


def _start(stack: ExitStack, module: list[str], env: dict[str, str], log: Path) -> "subprocess.Popen[str]":
    errors = stack.enter_context(log.open("wb"))
    process = subprocess.Popen([sys.executable, "-m", *module], env=env, stdout=subprocess.PIPE, stderr=errors, text=True)
    stack.callback(_stop, process)
    return process


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _within(at: np.ndarray, windows: list[tuple[float, float]]) -> np.ndarray:
    starts, ends = np.array(windows).T
    found = np.searchsorted(starts, at, side="right") - 1
    return np.asarray((found >= 0) & (at <= ends[np.maximum(found, 0)]))


def _windows(requests: np.ndarray) -> Windows:
    p50, p99, worst = (float(v) * 1000 for v in np.percentile(requests[:, 1], [50, 99, 100]))
    return Windows(len(requests), p50, p99, worst)
