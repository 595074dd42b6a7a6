"""A worker process for the tests: live weights of a network whose output is its version, asked all the time.

    python worker.py SOCKET MODEL NAME

Prints a JSON line for every version that begins to serve, and at the end, on SIGTERM, what it answered: the number of
requests, those whose network did not belong to the version they were told, and the greatest pause between two answers.
"""

import json
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from headrace.runtime import logging
from headrace.weights import Bound, LiveWeights


def build() -> nn.Module:
    return nn.Linear(4, 1)


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def main(socket: str, model: str, name: str) -> None:
    told: list[int] = []  # not an Event: its lock, if this thread held it when the signal came, would never be free
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    torch.set_num_threads(1)
    logging.configure("info", "console", instance=name)
    ones = torch.ones(1, 4)

    def on_change(bound: Bound) -> None:
        say(version=bound.version, checkpoint=bound.checkpoint, at=time.time(), seconds=live.seconds)

    live = LiveWeights(
        Path(socket), model, build, worker=name, role="test", warm_up=lambda network: network(ones), on_change=on_change
    )
    live.start()
    live.wait_ready()
    requests = wrong = 0
    longest, last = 0.0, time.perf_counter()
    while not told:
        time.sleep(0.001)
        with live.lease() as bound, torch.inference_mode():
            wrong += int(bound.network(ones)) != bound.version
        requests += 1
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    live.stop()
    say(requests=requests, wrong=wrong, longest_pause_s=longest)


if __name__ == "__main__":
    main(*sys.argv[1:])
