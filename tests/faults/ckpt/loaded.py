"""One fleet for many faults.

Its workers answer all the time, and nothing that happens to the others may show in an answer.
"""

import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis
import torch

from headrace.contracts.events_pb2 import Operation
from headrace.model.pipeline import load_pipeline
from headrace.platform.valkey import EmbeddedValkey
from headrace.weights import LiveWeights, Manifest, agent_socket, checkpoint_event, open_store
from tests.faults.ckpt import forked
from tests.faults.ckpt.forked import Forked
from tests.faults.ckpt.mortal import Fate
from tests.faults.ckpt.proof import Asker, Caller, Holder, fingerprint, put, state_of, write_pipeline
from tests.integration.ckpt.fleet import Fleet, make_fleet
from tests.integration.rpc.rpc_process import start, stop

KEY = b"the fleet's key"


class Loaded:
    """A fleet with a Redis of its own, a coordinator, an agent, and two workers that are asked all the time.

    One worker is the role `rpc`, asked through the serving protocol; the other lives in the tests' process. Versions
    are signed. `serves` says what the fleet is to serve next; at the end `check` compares every answer with all that
    was said.
    """

    def __init__(self, kafka: Any, folder: Path, closing: ExitStack) -> None:
        self._folder = folder
        forked.start_server()
        closing.callback(forked.stop_server)
        self.valkey = self.start_redis()
        closing.callback(lambda: (self.redis.close(), self.valkey.stop()))
        self.fleet: Fleet = make_fleet(kafka, self.valkey.address, folder)
        closing.callback(self.fleet.close)
        self.model, self.version, self.epoch = self.fleet.model, 0, 1
        self.store = open_store(self.fleet.settings)
        closing.callback(self.store.close)
        self._forks: list[Forked] = []
        closing.callback(lambda: [process.kill() for process in self._forks])
        self.coordinator, self.agent = self.coordinate(), self.host()
        self.pipeline = write_pipeline(folder / "pipeline", self.model)
        rpc, endpoints = start(folder, pipeline=self.pipeline, instance="survivor")
        closing.callback(stop, rpc)
        network = load_pipeline(self.pipeline).model.network
        live = LiveWeights(agent_socket(self.fleet.settings), self.model, network, worker="held", role="test")
        self.askers: list[Asker] = [Caller(endpoints["grpc"], self.model), Holder(live)]
        closing.callback(lambda: [asker.stop() for asker in self.askers])
        self.history: list[int] = []
        self._proofs: dict[int, str] = {}
        self.serves(self.publish())

    # Processes.

    def _fork(self, name: str, role: Callable[..., int], *arguments: Any) -> Forked:
        log = self._folder / f"{name}-{len(self._forks)}.log"
        made = Forked(
            role,
            *arguments,
            env={**self.fleet.env, "HEADRACE_SIGNING_KEY": KEY.decode(), "HEADRACE_INSTANCE": name},
            log=log,
        )
        self._forks.append(made)
        return made

    def coordinate(self, fate: Fate | None = None) -> Forked:
        """Start a coordinator, in the place of the one before."""
        # Nobody waits for a deadline here: what needs one to go on is a mistake, and shows.
        flags = ("--stage-timeout-s", "300", "--sweep-every-s", "0.2")
        self.coordinator = self._fork("coordinator", forked.coordinator, fate or Fate(), *flags)
        return self.coordinator

    def host(self, fate: Fate | None = None, *, slow_s: float = 0.0, largest_file: int = 0) -> Forked:
        """Start an agent, in the place of the one before."""
        flags = ("--heartbeat-s", "0.5", "--parallel-pulls", "1")
        self.agent = self._fork("agent", forked.agent, fate or Fate(), slow_s, largest_file, *flags)
        return self.agent

    def worker(self, name: str, fate: Fate) -> Forked:
        return self._fork(name, forked.worker, fate, self.pipeline, name)

    def trainer(self, version: int = 0, fate: Fate | None = None) -> Forked:
        """Start a trainer that resumes, and then publishes a version; a newer one than any of the test's own."""
        self.epoch += 1
        self.version = max(self.version, version)
        return self._fork("trainer", forked.trainer, fate or Fate(), self.model, version)

    def start_redis(self) -> EmbeddedValkey:
        """Start Redis; again, at the port that it had."""
        before = getattr(self, "valkey", None)
        port = int(before.address.split(":")[2].split("/")[0]) if before else None
        self.valkey = EmbeddedValkey(self._folder / "valkey", port=port, max_bytes=64 << 20)
        self.valkey.launch()
        self.valkey.wait_ready()
        self.redis = redis.Redis.from_url(self.valkey.address)
        return self.valkey

    # Versions.

    def put(self, state: Mapping[str, torch.Tensor] | None = None, *, epoch: int = 0) -> Manifest:
        """Play the trainer up to the chunks, of the next version."""
        self.version += 1
        return put(self.model, self.version, self.store, state, epoch=epoch or self.epoch)

    def announce(self, manifest: Manifest, key: bytes | None = KEY) -> int:
        """Send the event, signed with the fleet's key unless told otherwise; return the version."""
        self.fleet.send(checkpoint_event(manifest, signing_key=key))
        return manifest.version

    def publish(self, state: Mapping[str, torch.Tensor] | None = None) -> int:
        """Play the trainer; return the version."""
        return self.announce(self.put(state))

    def operate(self, kind: "Operation.Kind.ValueType") -> None:
        self.fleet.operate(kind)

    def frozen_mid_pull(self) -> Forked:
        """Publish a version, and stop a new agent in the middle of pulling it."""
        self.agent.kill()
        agent = self.host(Fate("chunk 2 pulled", self.version + 1, signal.SIGSTOP))
        self.publish()
        agent.expect_stopped()
        return agent

    def key_of(self, chunk: str) -> str:
        """Where Redis has a chunk."""
        return f"headrace:{{{self.model}}}:{chunk}"

    def file_of(self, chunk: str) -> Path:
        """Where shared storage has it."""
        return self._folder / "storage" / self.model / "chunks" / chunk[:2] / chunk

    # What must hold.

    def serves(self, version: int) -> None:
        """Every worker comes to serve a version."""
        self.history.append(version)
        for asker in self.askers:
            asker.expect(version)

    def goes_on(self) -> None:
        """Every worker answers, by what it has."""
        for asker in self.askers:
            asker.answered(10)

    def check(self) -> None:
        """No request failed, every answer proves its version, and these were the right ones in the right order."""
        for version in set(self.history) - self._proofs.keys():
            self._proofs[version] = fingerprint(state_of(version))
        self.goes_on()
        for asker in self.askers:
            assert asker.errors == []
            answers = list(asker.answers)
            assert [answer for answer in answers if self._proofs.get(answer[0]) != answer[1]] == []
            assert asker.versions == self.history
        assert len(set(self._proofs.values())) == len(self._proofs)
