"""A model whose answers prove the weights that gave them, and a caller who checks the proof.

Its network's output is a fingerprint of every bit of its weights and of their places: a sum, modulo 2**64, of the
weights' bits times odd keys. Weights of two versions mixed, a chunk out of place or one flipped bit give another
number.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from headrace.weights import ChunkStore, LiveWeights, Manifest, VersionFacts, publish_version
from tests.patience import WAIT_S

CHUNK = 32 << 10

MODEL = '''
from collections.abc import Sequence
import msgspec, torch
from headrace import Model

class Event(msgspec.Struct):
    id: str

class Label(msgspec.Struct):
    id: str

class Proof(torch.nn.Module):
    """Answers, [N, 1], all the fingerprint of the weights."""
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Parameter(torch.zeros(200, 128))
        self.second = torch.nn.Parameter(torch.zeros(300, 128))
    def forward(self, x):
        bits = torch.cat([self.first.reshape(-1), self.second.reshape(-1)]).view(torch.int32).to(torch.int64)
        keys = torch.arange(len(bits), dtype=torch.int64) * 0x9E3779B97F4A7C1 * 2 + 1
        return (bits * keys).sum().expand(len(x), 1)

class Proving(Model[Event, Label]):
    key = "id"
    def network(self): return Proof()
    def features(self, events): return torch.zeros(len(events), 1)
    def loss(self, outputs, labels): return outputs.sum()
    def predictions(self, outputs) -> Sequence[str]:
        return [f"{value & (2**64 - 1):016x}" for value in outputs[:, 0].tolist()]
    def error(self, prediction, label): return 0.0
'''


def write_pipeline(folder: Path, name: str) -> Path:
    """Write the model as a pipeline, and return its folder."""
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(f"name: {name}\nmodel: model.py:Proving\n")
    (folder / "model.py").write_text(MODEL)
    return folder


def state_of(version: int) -> dict[str, torch.Tensor]:
    """A version's weights: random, and half of their chunks shared with the version before."""
    half = torch.Generator().manual_seed(version // 2)
    whole = torch.Generator().manual_seed(1000 + version)
    return {"first": torch.rand(200, 128, generator=whole), "second": torch.rand(300, 128, generator=half)}


def fingerprint(state: Mapping[str, torch.Tensor]) -> str:
    """What a network with these weights answers, computed in another way: with Python's integers."""
    bits = np.concatenate([state[name].numpy().reshape(-1) for name in ("first", "second")]).view(np.int32)
    key = 0x9E3779B97F4A7C1 * 2
    return f"{sum(int(bit) * (place * key + 1) for place, bit in enumerate(bits)) % 2**64:016x}"


def put(
    model: str, version: int, store: ChunkStore, state: Mapping[str, torch.Tensor] | None = None, *, epoch: int = 1
) -> Manifest:
    """Play the trainer up to the chunks."""
    return publish_version(
        state or state_of(version),
        VersionFacts(model=model, version=version, base_version=version - 1, epoch=epoch, step=1),
        store=store,
        chunk_size=CHUNK,
    )


class Asker(ABC):
    """Asks all the time, in a thread of its own; keeps every answer's version and proof, and every error."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.errors: list[Exception] = []
        self._expected = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @abstractmethod
    def _run(self) -> None: ...

    @property
    def versions(self) -> list[int]:
        """The versions that answered, in their order."""
        return [version for version, _ in groupby(version for version, _ in self.answers)]

    def expect(self, version: int) -> None:
        """Wait until a version answers, or has answered since what was expected before."""
        deadline = time.monotonic() + WAIT_S
        while True:
            while self._expected < len(self.answers):
                if self.answers[self._expected][0] == version:
                    return
                self._expected += 1
            assert time.monotonic() < deadline, (version, self.answers[-3:], self.errors[-3:])
            time.sleep(0.01)

    def answered(self, more: int) -> None:
        """Wait for so many more answers."""
        wanted, deadline = len(self.answers) + more, time.monotonic() + WAIT_S
        while len(self.answers) < wanted:
            assert time.monotonic() < deadline, (len(self.answers), wanted, self.errors[-3:])
            time.sleep(0.01)

    def fails(self) -> None:
        """Wait for an error."""
        deadline = time.monotonic() + WAIT_S
        while not self.errors:
            assert time.monotonic() < deadline, self.answers[-3:]
            time.sleep(0.01)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(WAIT_S)


class Caller(Asker):
    """Asks a server through the serving protocol, once it is ready, with a pause between requests."""

    def __init__(self, address: str, model: str, pause_s: float = 0.002) -> None:
        self._address, self._model, self._pause_s = address, model, pause_s
        super().__init__()

    def _run(self) -> None:
        tensor = tritonclient.grpc.InferInput("id", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([["a"]], np.object_))
        with tritonclient.grpc.InferenceServerClient(self._address) as client:
            while not client.is_server_ready() and not self._over.wait(0.02):
                pass
            while not self._over.wait(self._pause_s):
                try:
                    answer = client.infer(self._model, [tensor])
                except InferenceServerException as error:
                    self.errors.append(error)
                    self._over.wait(0.05)  # whoever is gone need not be asked a thousand times
                else:
                    version = int(answer.get_response().model_version)
                    self.answers.append((version, answer.as_numpy("prediction")[0, 0].decode()))


class Holder(Asker):
    """Asks live weights of its own process."""

    def __init__(self, live: LiveWeights) -> None:
        self.live = live
        live.start()
        super().__init__()

    def _run(self) -> None:
        ask = torch.zeros(1, 1)
        while not self.live.wait_ready(0.02) and not self._over.is_set():
            pass
        while not self._over.wait(0.002):
            with self.live.lease() as bound, torch.inference_mode():
                self.answers.append((bound.version, f"{int(bound.network(ask)) % 2**64:016x}"))

    def stop(self) -> None:
        super().stop()
        self.live.stop()
