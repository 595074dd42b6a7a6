"""A stream worker for tests: the real role, with weights that a file names instead of an agent's, and steps to halt at.

`STREAM_WEIGHTS` is a file of weights to serve as version 1, in the place of what follows.
The weights' version is 1, and 2, 3, ... those of the pipeline's further models.

`NUMBERED_VERSION` is a file with {"version": 2, "kind": "sound"}; without it, version 1 is sound. Kinds: "sound";
"slow", whose forward pass takes 0.3 s; "nan", whose outputs are NaN; "raises", whose forward pass does. `NUMBERED_HALT`
is a file with a
step of the transaction and how to halt there, once: "produce stop" sends this process SIGSTOP when the records are
produced, "offsets 1.5" keeps only the committing thread for 1.5 s when the offsets are sent.
"""

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime.lifecycle import Context, run_role
from headrace.weights import StaticWeights
from headrace.weights.worker.shadow import load_into
from services.inference.stream.app import build_stream
from services.inference.stream.metrics import StreamMetrics
from services.inference.stream.settings import StreamSettings

LOOK_S = 0.02


def network_of(pipeline: Pipeline, kind: str) -> nn.Module:
    """A version of this kind."""
    network = pipeline.model.network()
    if kind == "nan":
        for parameter in network.parameters():
            nn.init.constant_(parameter, float("nan"))
    elif kind == "raises":
        network.register_forward_pre_hook(lambda *_: 1 / 0)
    elif kind == "slow":
        network.register_forward_pre_hook(lambda *_: time.sleep(0.3))
    return network


class FileWeights(StaticWeights):
    """The version that a file names, swapped as it changes."""

    def __init__(self, pipeline: Pipeline, file: Path) -> None:
        super().__init__(None, model=pipeline.name)
        self._pipeline, self._file = pipeline, file
        self._stopping = threading.Event()
        self._look()

    def start(self) -> None:
        threading.Thread(target=self._follow, name="versions", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _follow(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        named = json.loads(self._file.read_text())
        if named["version"] != self.version:
            self.swap(network_of(self._pipeline, named["kind"]), named["version"])


def halt_at_steps(file: Path) -> None:
    """Have the sink halt where the file says: it reports each step of a transaction as it is done."""
    report = StreamMetrics.phase

    def halting(self: StreamMetrics, name: str, seconds: float) -> None:
        report(self, name, seconds)
        try:
            step, how = file.read_text().split()
        except FileNotFoundError:
            return
        if step != name:
            return
        file.unlink()
        if how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            time.sleep(float(how))

    StreamMetrics.phase = halting  # type: ignore[method-assign]


def build(context: Context[StreamSettings]):
    """The role on the weights that the environment names."""
    torch.manual_seed(0)
    pipeline = load_pipeline(context.settings.pipeline)
    others = {
        other.model_name: StaticWeights(other.model.network(), model=other.model_name, version=version)
        for version, other in enumerate(pipeline.others, start=2)
    }
    if weights := os.environ.get("STREAM_WEIGHTS"):
        network = load_into(pipeline.model.network(), load_file(weights))
        return build_stream(context, StaticWeights(network, model=pipeline.name), others)
    if version := os.environ.get("NUMBERED_VERSION"):
        return build_stream(context, FileWeights(pipeline, Path(version)), others)
    return build_stream(context, StaticWeights(pipeline.model.network(), model=pipeline.name), others)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)  # a worker that is stuck shows where
    if halt := os.environ.get("NUMBERED_HALT"):
        halt_at_steps(Path(halt))
    sys.exit(run_role("stream", StreamSettings, build, sys.argv[1:]))
