"""A worker process of the benchmark: answers at a fixed offered rate, and knows of every answer whether it is right.

    python -m benchmarks.weights.worker SOCKET MODEL NAME ROWS RATE OUT

A request is a forward pass of 64 events under a lease; its network answers the number of its version. Latency counts from when
the request was due, so that a pause delays all requests behind it too. It prints a JSON line for every version that begins to
serve. On SIGTERM it writes (due time, latency, right or wrong) of all requests to OUT.
"""

import json
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from headrace.runtime import logging
from headrace.weights import Bound, LiveWeights

BATCH, WIDTH = 64, 64


class Network(nn.Module):
    """Rows looked up, then an MLP whose last layer adds the version to zero."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(rows, WIDTH)
        self.hidden = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.last = nn.Linear(WIDTH, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Answers, [N], of the rows `ids`, [N]."""
        answers: torch.Tensor = self.last(self.hidden(self.rows(ids)))
        return answers[:, 0]


def state_of(version: int, rows: int) -> dict[str, torch.Tensor]:
    """The weights of a version."""
    torch.manual_seed(version)
    network = Network(rows)
    nn.init.zeros_(network.last.weight)
    nn.init.constant_(network.last.bias, float(version))
    return network.state_dict()


def main(socket: str, model: str, name: str, *numbers_and_out: str) -> None:
    """Serve until SIGTERM."""
    rows, rate, out = numbers_and_out
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    torch.set_num_threads(1)
    logging.configure("warning", "console", instance=name)
    ids = torch.randint(int(rows), (BATCH,))

    def on_change(bound: Bound) -> None:
        print(json.dumps({"version": bound.version, "at": time.time(), "seconds": live.seconds}), flush=True)

    def build() -> nn.Module:
        return Network(int(rows))

    live = LiveWeights(
        Path(socket), model, build, worker=name, role="bench", warm_up=lambda network: network(ids), on_change=on_change
    )
    live.start()
    live.wait_ready()
    np.save(out, answer(live, ids, 1 / float(rate), done))
    live.stop()


def answer(live: LiveWeights, ids: torch.Tensor, every: float, done: threading.Event) -> np.ndarray:
    """Answer a request every so many seconds; [N, 3] of due time, latency in s, 1 if it failed."""
    taken: list[tuple[float, float, float]] = []
    offset = time.time() - time.perf_counter()
    due = time.perf_counter()
    while not done.is_set():
        due += every
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            with live.lease() as bound, torch.inference_mode():
                failed = not bool((bound.network(ids) == bound.version).all())
        except Exception:  # noqa: BLE001 - whatever a request fails of is counted
            failed = True
        taken.append((due + offset, time.perf_counter() - due, float(failed)))
    return np.array(taken)


if __name__ == "__main__":
    main(*sys.argv[1:])
