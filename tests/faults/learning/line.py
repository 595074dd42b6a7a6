"""Join and trainer as real processes that are killed and started again, and what must be true afterwards."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from headrace.contracts.events_pb2 import CheckpointPublished, DeadLetter
from headrace.contracts.topics import CHECKPOINTS, SYSTEM_PARTITIONS
from headrace.model.pipeline import load_pipeline
from headrace.platform import LocalPlatform
from services.trainer.batches import Item, merged
from services.trainer.checkpoint import Checkpoint, CheckpointFolder
from services.trainer.learner import Learner
from tests.faults.learning.ranks import between, replayed
from tests.integration.trainer.test_trainer_ranks import all_children
from tests.line_kit import RoleProcess, read_all, write_toy
from tests.patience import WAIT_S, wait_for
from tests.unit.trainer.world_kit import digest

TRAINING = {
    "checkpoint_examples": 500,
    "checkpoint_s": 0.5,
    "keep": 100_000,
    "replay": {"window": 400, "examples": 32},
    "average": 0.9,
    "schedule": {"kind": "inverse_time", "start": 3.0, "steps": 50},
    "drift": {"ratio": 1.5, "examples": 100},
}


class Line:
    """One pipeline's join and trainer."""

    KINDS = ("join", "trainer", "both", "damage", "storm")
    OF_RANKS = (*KINDS, "rank", "broker")

    def __init__(self, kafka: Any, folder: Path, seed: int, own: LocalPlatform | None = None) -> None:
        self.name = kafka.unique("learning")
        self._kafka, self._dice, self._own = kafka.bootstrap_servers, random.Random(seed), own
        self._pipeline = write_toy(folder / "toy", self.name, window_s=3600, **TRAINING)
        self._run = folder / "run"
        self.folder = CheckpointFolder(self._run / "storage", self.name)
        self.roles = {role: self._start(role) for role in ("join", "trainer")}
        self.done = Counter[str]()
        self.damaged = 0

    def _start(self, role: str) -> RoleProcess:
        flags = ["--ranks=2"] if role == "trainer" and self._own is not None else []
        return RoleProcess(role, f"{role}-0", self._pipeline, self._run, self._kafka, *flags)

    def ready(self) -> None:
        """Wait until both are."""
        for role in self.roles.values():
            role.endpoints()

    def strike(self, kind: str, flow: Any) -> None:
        """One fault; both are ready again, or the storm is over, when this returns."""
        self.done[kind] += 1
        if kind == "storm":
            flow.storm(self._dice.uniform(0.3, 1.0))
            return
        if kind in ("rank", "broker"):
            self._strike_rank() if kind == "rank" else self._strike_broker()
            self.ready()
            return
        names = {"both": ["join", "trainer"], "damage": ["trainer"]}.get(kind, [kind])
        for name in names:
            self.roles[name].stop(signal.SIGKILL)
        if kind == "damage":
            self._damage()
        for name in names:
            self.roles[name] = self._start(name)
        self.ready()

    def _strike_rank(self) -> None:
        """Kill one; the main process starts both again."""
        before = all_children(self.roles["trainer"].process.pid)
        os.kill(self._dice.choice(before), signal.SIGKILL)
        wait_for(lambda: not set(all_children(self.roles["trainer"].process.pid)) & set(before))

    def _strike_broker(self) -> None:
        """It is killed and comes back; over once training has gone on."""
        assert self._own is not None
        before = self._position()
        self._own.restart_kafka(kill=True)
        wait_for(lambda: self._revived() and self._position() > before)

    def _revived(self) -> bool:
        """Start roles again that have ended, as for every dependency that fails; True."""
        for name, role in self.roles.items():
            if role.process.poll() is not None:
                self.roles[name] = self._start(name)
        return True

    def _damage(self) -> None:
        """Cut, flip or empty the newest checkpoint, if there is one before it."""
        entries = self.folder.entries()
        if len({entry.version for entry in entries}) < 2:
            return
        path, self.damaged = entries[0].path, self.damaged + 1
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(self._dice.choice([bytes(data), bytes(data[:-9]), b""]))

    def drain(self, count: int) -> None:
        """Wait until the newest checkpoint lies beyond so many examples; then end both properly."""
        deadline = time.monotonic() + WAIT_S
        while self._position() < count:
            assert time.monotonic() < deadline, f"{self._position()} of {count}\n{self.logs()}"
            if self._own is not None:
                self._revived()
            time.sleep(0.1)
        codes = {name: role.stop() for name, role in self.roles.items()}
        assert codes == {"join": 0, "trainer": 0}, self.logs()

    def _position(self) -> int:
        readable = self.folder.readable()
        return sum(readable[0][1].offsets.values()) if readable else 0

    def kill(self) -> None:
        """Whatever still runs."""
        for role in self.roles.values():
            if role.process.poll() is None:
                role.stop(signal.SIGKILL)

    def logs(self) -> str:
        """The ends of both logs."""
        return "\n".join(f"--- {name}\n{role.log.read_text()[-3000:]}" for name, role in self.roles.items())

    # What must be true afterwards.

    def examples(self, expected: int) -> list[Message]:
        """All that are committed."""
        return read_all(self._kafka, f"{self.name}.examples", 2, expected)

    def letters(self, expected: int) -> list[DeadLetter]:
        """The trainer's dead letters."""
        found = read_all(self._kafka, f"{self.name}.examples.dlq", 2, expected)
        return [DeadLetter.FromString(message.value() or b"") for message in found]

    def announced(self) -> list[CheckpointPublished]:
        """The model's versions, in their order."""
        found = read_all(self._kafka, CHECKPOINTS.name(), SYSTEM_PARTITIONS, 1)
        return [CheckpointPublished.FromString(m.value() or b"") for m in found if m.key() == self.name.encode()]

    def newest(self) -> Checkpoint:
        """The last one's checkpoint."""
        return self.folder.read(self.folder.readable()[0][0])

    def uninterrupted(self, examples: list[Message]) -> str:
        """The digest of a learner that learns the same batches in one go, beginning with the first version."""
        newest, chain = self.newest(), list[Checkpoint]()
        at, files = newest, self._announced_files()
        while at.header.base_version:
            chain.append(at)
            at = files[at.header.base_version]
        if self._own is not None:
            raw = {p: sorted((m.offset(), m.value()) for m in examples if m.partition() == p) for p in (0, 1)}
            encoded = [checkpoint.encode() for checkpoint in (at, *reversed(chain))]
            return replayed(self._pipeline, encoded, raw, self._run)
        pipeline, log = load_pipeline(self._pipeline), self._log(examples)
        learner, start = Learner(pipeline, 2000, at), at.header.offsets
        for checkpoint in reversed(chain):
            for row in checkpoint.header.batches:
                ends = dict(zip(checkpoint.header.partitions, row, strict=True))
                learner.learn(merged({p: between(log[p], start[p], ends[p]) for p in ends}))
                start = ends
        state = learner.state()
        return digest(Checkpoint(newest.header, state.weights, state.optimizer, state.random, [], state.lanes))

    def _announced_files(self) -> dict[int, Checkpoint]:
        """Each version's checkpoint; a trainer that was killed may have left another file, without an event."""
        created = {event.created_at_us for event in self.announced()}
        read = map(self.folder.read, self.folder.entries())
        return {one.header.version: one for one in read if one.header.created_at in created}

    def _log(self, examples: list[Message]) -> dict[int, list[Item]]:
        """Each partition's examples; offsets have gaps where transactions ended."""
        decode = load_pipeline(self._pipeline).example_decoder.decode
        log: dict[int, list[Item]] = {0: [], 1: []}
        for message in sorted(examples, key=lambda m: m.offset() or 0):
            one, partition = decode(message.value() or b""), message.partition() or 0
            log[partition].append(Item(one.label_ms, partition, message.offset() or 0, one, message))
        return log
