"""A worker process of the benchmark.

Answers requests that come at random, and knows of every answer whether it is right.

    python -m benchmarks.weights.worker SOCKET MODEL NAME ROWS OUT [realtime]

A request is a forward pass of 256 events under a lease; its network answers the number of its version. It prints a JSON
line for every version that begins to serve. On standard input it is told `measure`, upon which it answers some requests
and prints what one costs of a core's time, in s, and then `offer RATE`, upon which requests come with exponential gaps
until SIGTERM. Latency counts from when a request was due, so that a pause delays all requests behind it too. At the end
it writes (due time, latency, right or wrong, version) of all requests to OUT.
"""

import json
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from headrace.runtime import garbage, logging
from headrace.runtime.scheduling import use_realtime, wake_quickly
from headrace.weights import Bound, LiveWeights

BATCH, WIDTH = 256, 64
_MEASURED, _MEASURED_S = 1000, 2.0


class Network(nn.Module):
    """Rows looked up, then an MLP whose last layer adds the version to zero."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = nn.Embedding.from_pretrained(torch.zeros(rows, WIDTH))
        self.hidden = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.last = nn.Linear(WIDTH, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Answers, [N], of the rows `ids`, [N]."""
        answers: torch.Tensor = self.last(self.hidden(self.rows(ids)))
        return answers[:, 0]


def main(socket: str, model: str, name: str, rows: str, out: str, *realtime: str) -> None:
    """Serve until SIGTERM."""
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    wake_quickly()
    if realtime and not use_realtime():
        raise PermissionError("no real-time priority is permitted")
    torch.set_num_threads(1)
    logging.configure("warning", "console", instance=name)
    ids = torch.randint(int(rows), (BATCH,))

    def on_change(bound: Bound) -> None:
        say(version=bound.version, at=time.time(), seconds=live.seconds)

    def build() -> nn.Module:
        return Network(int(rows))

    live = LiveWeights(
        Path(socket), model, build, worker=name, role="bench", warm_up=lambda network: network(ids), on_change=on_change
    )
    garbage.settle()
    live.start()
    for line in sys.stdin:
        order, *rate = line.split()
        live.wait_ready()
        if order == "measure":
            say(cost=cost(live, ids))
        else:
            np.save(out, answer(live, ids, float(rate[0]), lambda _: done.is_set()))
            break
    live.stop()


def say(**fields: object) -> None:
    """Print a JSON line."""
    print(json.dumps(fields), flush=True)


def once(live: LiveWeights, ids: torch.Tensor) -> tuple[bool, int]:
    """Answer a request; whether the answer was right, and the version that gave it."""
    try:
        with live.lease() as bound, torch.inference_mode():
            return bool((bound.network(ids) == bound.version).all()), bound.version
    except Exception:  # noqa: BLE001 - whatever a request fails of is counted
        return False, 0


def cost(live: LiveWeights, ids: torch.Tensor) -> float:
    """Seconds of a core's time that a request takes, waking up for it included."""
    began = time.process_time()
    answered = answer(live, ids, _MEASURED / _MEASURED_S, lambda taken: taken >= _MEASURED)
    return (time.process_time() - began) / len(answered)


def answer(live: LiveWeights, ids: torch.Tensor, rate: float, done: Callable[[int], bool]) -> np.ndarray:
    """Answer requests until `done`, of their number; [N, 4] of due time, latency in s, 1 if it failed, version."""
    taken: list[tuple[float, float, bool, int]] = []
    gaps = random.Random(live.worker)
    offset = time.time() - time.perf_counter()
    due = time.perf_counter()
    while not done(len(taken)):
        due += gaps.expovariate(rate)
        wait = due - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        right, version = once(live, ids)
        taken.append((due + offset, time.perf_counter() - due, not right, version))
    return np.array(taken, float)


if __name__ == "__main__":
    main(*sys.argv[1:])
