"""A coordinator, an agent and some workers as processes, and versions for them."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.weights.worker import WIDTH, Network
from headrace.contracts.events_pb2 import CheckpointPublished
from headrace.runtime.settings import ServiceSettings
from headrace.weights import VersionFacts, agent_socket, checkpoint_event, open_store, publish_version
from headrace.weights.format.chunks import CHUNK_SIZE

PAYLOADS = 5
"""Contents that versions take turns with: one more than there are slots, so that of each version every byte travels."""
_PATIENCE_S = 120.0


class Worker:
    """A worker process, the versions that it says it serves, and its answers."""

    def __init__(self, process: "subprocess.Popen[str]", out: Path) -> None:
        self._process, self._out = process, out
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(json.loads(line))

    def tell(self, order: str) -> None:
        """Give an order: see benchmarks.weights.worker."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()

    def cost(self) -> float:
        """Seconds of a core's time that a request takes, as it measured."""
        while "cost" not in (line := self._lines.get(timeout=_PATIENCE_S)):
            pass
        return float(line["cost"])

    def serves(self, version: int) -> dict[str, Any]:
        """Wait until it does.

        Raises:
            queue.Empty: it does not within two minutes.
        """
        while (line := self._lines.get(timeout=_PATIENCE_S)).get("version", 0) < version:
            pass
        return line

    def requests(self) -> np.ndarray:
        """Stop it, and return what it answered."""
        self._process.terminate()
        self._process.wait(_PATIENCE_S)
        return np.asarray(np.load(self._out))


def versions(settings: ServiceSettings, model: str, rows: int, count: int) -> list[CheckpointPublished]:
    """Publish versions 1 to `count`.

    All chunks before the first event, so that a trainer's writing is in nobody's window.
    """
    store = open_store(settings)
    network, weight = Network(0), torch.empty(rows, WIDTH).uniform_(generator=torch.Generator().manual_seed(1))
    torch.nn.init.zeros_(network.last.weight)
    events = []
    for version in range(1, count + 1):
        torch.nn.init.constant_(network.last.bias, float(version))
        weight.view(-1)[:: CHUNK_SIZE // 16] = version % PAYLOADS  # some elements of each chunk
        manifest = publish_version(
            {**network.state_dict(), "rows.weight": weight},
            VersionFacts(model=model, version=version, base_version=version - 1, epoch=1, step=version),
            store=store,
        )
        events.append(checkpoint_event(manifest))
    store.close()
    return events


@contextmanager
def fleet(settings: ServiceSettings, model: str, rows: int, workers: int, *, realtime: bool) -> Iterator[list[Worker]]:
    """Start the processes, the workers with the priority that `rpc --realtime` has if so.

    Kill at the end what still runs.
    """
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
            _start(stack, [f"services.ckpt.{role}"], env, folder / f"{model}-{role}.log")
        started = []
        for n in range(workers):
            out = folder / f"{model}-{n}.npy"
            line = [
                "benchmarks.weights.worker",
                socket,
                model,
                f"w{n}",
                str(rows),
                str(out),
                *(["realtime"] * realtime),
            ]
            started.append(Worker(_start(stack, line, env, folder / f"{model}-w{n}.log"), out))
        yield started


def _start(stack: ExitStack, module: list[str], env: dict[str, str], log: Path) -> "subprocess.Popen[str]":
    errors = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    stack.callback(_stop, process)
    return process


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
