"""A checkpoint: everything that training needs to go on, in one safetensors file that is there whole or not at all.

Tensors are named weights/..., optimizer/..., random/..., lanes/..., published/... and letters/...; the rest stands as
JSON in the file's metadata. The file's name carries the digest of its bytes, so that damage anywhere is noticed.
"""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load, save

from headrace.contracts.events_pb2 import CheckpointRefused, PartitionOffset
from headrace.runtime.errors import WeightsError
from headrace.runtime.files import sync_folder
from headrace.runtime.logging import get_logger
from headrace.weights.errors import StoreUnavailable
from headrace.weights.format.facts import VersionFacts
from services.trainer.tree import flatten, unflatten

log = get_logger("headrace.trainer")

FORMAT = 1
DAMAGED = ".damaged"
_METADATA = "headrace"
_NAME = re.compile(r"^(\d{8,})-e(\d+)-([0-9a-f]{32})\.safetensors$")


class Learning(msgspec.Struct, kw_only=True, frozen=True):
    """What learning again, schedules and races need to go on, beside tensors.

    Attributes:
        window: partition → first offset of the examples that are learned from again; they end at the header's offsets.
        left_out: partition → offsets in there that could not be learned from.
        schedule_began: the step at which the learning rate's schedule began.
        drift: the drift detector's state.
        followed_lane: which of the lanes is served.
    """

    window: dict[int, int] = {}
    left_out: dict[int, list[int]] = {}
    schedule_began: int = 0
    drift: tuple[float, float, int] | None = None
    followed_lane: int = 0


class Gated(msgspec.Struct, kw_only=True, frozen=True):
    """What gates need to go on.

    Attributes:
        published_version: the version published last: this one unless it was refused.
        base_version: the version published before this one.
        window: see `services.trainer.gates.Window`.
        gate: that refused this checkpoint; "" if it is to be published.
        reason: why.
        values: what was compared.
    """

    published_version: int = 0
    base_version: int = 0
    window: list[tuple[float, float, int]] = []
    gate: str = ""
    reason: str = ""
    values: dict[str, float] = {}


class Header(msgspec.Struct, kw_only=True, frozen=True):
    """The plain part of a checkpoint.

    Attributes:
        model: the model's name.
        version: of these weights.
        base_version: the version before it; 0 for the first.
        epoch: of the trainer that made it; rises with every start.
        step: optimizer steps taken.
        examples: examples learned from.
        topic: that of the examples.
        offsets: partition → next offset to read.
        partitions: the order of partitions in `batches`.
        batches: the next offsets after every batch since `base_version`: with the base checkpoint and the log they give
            the same weights again, bit for bit.
        newest_label_us: when the newest label learned from was appended, µs since the epoch; 0 if none.
        created_at: µs since the epoch.
        metrics: figures to show beside the version.
        progress: running errors, by name: (sum, count).
        learning: windows, schedules and races.
        gated: what gates said of it; None where there are none.
        origin: what made it, by name; see `CheckpointPublished`.
        held: nobody serves it, or a later version, until an operator says so.
        format: version of this schema.
    """

    model: str
    version: int
    base_version: int
    epoch: int
    step: int
    examples: int
    topic: str
    offsets: dict[int, int]
    partitions: list[int]
    batches: list[list[int]]
    newest_label_us: int
    created_at: int
    metrics: dict[str, float]
    progress: dict[str, tuple[float, int]]
    learning: Learning = Learning()
    gated: Gated | None = None
    origin: dict[str, str] = {}
    held: bool = False
    format: int = FORMAT

    @property
    def refused(self) -> bool:
        """Whether a gate keeps it from being published."""
        return self.gated is not None and bool(self.gated.gate)

    @property
    def refusal(self) -> CheckpointRefused:
        """The event that says so."""
        gated = self.gated or Gated()
        return CheckpointRefused(
            model=self.model, version=self.version, published_version=gated.published_version, epoch=self.epoch,
            step=self.step, gate=gated.gate, reason=gated.reason, values=gated.values, created_at_us=self.created_at,
            offsets=[PartitionOffset(topic=self.topic, partition=p, offset=o) for p, o in self.offsets.items()],
        )  # fmt: skip

    @property
    def facts(self) -> VersionFacts:
        """What the fleet is told of the version. Its base is a version that was published, too."""
        return VersionFacts(
            model=self.model,
            version=self.version,
            base_version=self.gated.base_version if self.gated is not None else self.base_version,
            epoch=self.epoch,
            step=self.step,
            offsets={self.topic: self.offsets},
            metrics=self.metrics,
            created_at=self.created_at,
            newest_label_us=self.newest_label_us,
        )


class Letter(NamedTuple):
    """A dead letter, to be sent with the checkpoint whose offsets lie beyond that of its record."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory; its tensors are its own.

    `weights` are those that are served. Where others learn (an average is served, or learning rates race), `lanes` has
    each one's weights, optimizer and average, and `optimizer` is empty. `published` are the weights published last,
    where these are refused.
    """

    header: Header
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random: dict[str, Any]
    letters: list[Letter] = field(default_factory=list)
    lanes: list[dict[str, Any]] = field(default_factory=list)
    published: dict[str, torch.Tensor] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The file's bytes."""
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"published/{name}": tensor for name, tensor in self.published.items()}
        plain = {
            "header": msgspec.to_builtins(self.header),
            "optimizer": flatten(self.optimizer, "optimizer", tensors),
            "random": flatten(self.random, "random", tensors),
            "lanes": flatten(self.lanes, "lanes", tensors),
            "letters": [_pack(letter, f"letters/{i}", tensors) for i, letter in enumerate(self.letters)],
        }
        return bytes(save(tensors, {_METADATA: json.dumps(plain)}))

    @classmethod
    def decode(cls, data: bytes) -> "Checkpoint":
        """From the file's bytes.

        Raises:
            WeightsError: it is no checkpoint of this format.
        """
        try:
            length = int.from_bytes(data[:8], "little")
            plain = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_METADATA])
            header = msgspec.convert(plain["header"], Header, strict=False)
            tensors = load(data)
            weights, published = _under("weights/", tensors), _under("published/", tensors)
            letters = [_unpack(letter, tensors) for letter in plain["letters"]]
            optimizer, random = unflatten(plain["optimizer"], tensors), unflatten(plain["random"], tensors)
            lanes = unflatten(plain.get("lanes", []), tensors)
            return cls(header, weights, optimizer, random, letters, lanes, published)
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise WeightsError(f"not a checkpoint of format {FORMAT}: {error}") from error


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _pack(letter: Letter, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    def tensor(data: bytes) -> torch.Tensor:
        return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)

    key = None if letter.key is None else tensor(letter.key)
    plain = {"partition": letter.partition, "offset": letter.offset, "key": key, "value": tensor(letter.value)}
    return flatten(plain, path, tensors)


def _unpack(plain: Any, tensors: dict[str, torch.Tensor]) -> Letter:
    found = unflatten(plain, tensors)
    key = None if found["key"] is None else found["key"].numpy().tobytes()
    return Letter(found["partition"], found["offset"], key, found["value"].numpy().tobytes())


class DamagedCheckpoint(WeightsError):  # noqa: N818 - reads as the sentence it is
    """A file whose bytes do not have the digest in its name."""


class Entry(NamedTuple):
    """A checkpoint's file."""

    version: int
    epoch: int
    digest: str
    path: Path


class Newest(NamedTuple):
    """The newest version that can be read, its files (usually one), and the damaged files that are newer."""

    readable: list[tuple[Entry, Header]]
    damaged: list[Entry]


class CheckpointFolder:
    """One model's checkpoints on shared storage.

    `<storage>/<model>/checkpoints/<version>-e<epoch>-<digest>.safetensors`.
    """

    def __init__(self, storage: Path, model: str) -> None:
        self.path = storage / model / "checkpoints"

    def entries(self) -> list[Entry]:
        """All files that look like checkpoints, newest first.

        By version, then by the epoch of the trainer that wrote them.
        """
        names = (path.name for path in self.path.glob("*.safetensors"))
        found = [match for match in map(_NAME.match, names) if match]
        made = (Entry(int(m[1]), int(m[2]), m[3], self.path / m[0]) for m in found)
        return sorted(made, key=lambda e: (e.version, e.epoch, e.digest), reverse=True)

    def read(self, entry: Entry) -> Checkpoint:
        """Load one.

        Raises:
            DamagedCheckpoint: its bytes are not those that were written.
            WeightsError: it is gone, or of another format.
            StoreUnavailable: the storage does not let it be read, which says nothing about the file.
        """
        try:
            data = entry.path.read_bytes()
        except FileNotFoundError as error:
            raise WeightsError(f"{entry.path}: {error.strerror}") from error
        except OSError as error:
            hint = "is the storage there?"
            raise StoreUnavailable(f"cannot read {entry.path}: {error.strerror}", hint=hint) from error
        if xxhash.xxh3_128_hexdigest(data) != entry.digest:
            raise DamagedCheckpoint(f"{entry.path}: {len(data)} bytes without the digest in its name: damaged")
        return Checkpoint.decode(data)

    def newest(self) -> Newest:
        """The newest version of which a file can be read; files that cannot are logged.

        Raises:
            StoreUnavailable: the storage does not let a file be read.
        """
        found = Newest([], [])
        for entry in self.entries():
            if found.readable and entry.version != found.readable[0][0].version:
                break
            try:
                found.readable.append((entry, self.read(entry).header))
            except StoreUnavailable:
                raise
            except WeightsError as error:
                log.error("checkpoint cannot be used", error=error.message)  # noqa: TRY400 - the message says it all
                if isinstance(error, DamagedCheckpoint):
                    found.damaged.append(entry)
        return found

    def readable(self) -> list[tuple[Entry, Header]]:
        """See `newest`."""
        return self.newest().readable

    def set_aside(self, entry: Entry) -> None:
        """Rename a damaged file, so that it no longer counts as a checkpoint; it stays until newer ones are pruned."""
        try:
            entry.path.replace(entry.path.with_name(entry.path.name + DAMAGED))
        except OSError as error:
            log.warning("damaged checkpoint not set aside", file=str(entry.path), error=error.strerror)

    def write(self, checkpoint: Checkpoint) -> int:
        """Write it durably: temporary file, sync, rename, sync the folder. Returns the file's size in bytes.

        Raises:
            StoreUnavailable: the storage refuses.
        """
        data, header = checkpoint.encode(), checkpoint.header
        name = f"{header.version:08d}-e{header.epoch}-{xxhash.xxh3_128_hexdigest(data)}.safetensors"
        temporary = self.path / f".{name}.{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / name)
            sync_folder(self.path)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write {self.path / name}: {error.strerror}",
                hint="is the storage mounted, writable and not full?",
            ) from error
        return len(data)

    def prune(self, keep: int) -> None:
        """Keep the newest `keep` versions, and no temporary file of a dead trainer; what cannot go now goes later."""
        entries = self.entries()
        kept = set(sorted({entry.version for entry in entries}, reverse=True)[:keep])
        old = [entry.path for entry in entries if entry.version not in kept]
        aside = self.path.glob(f"*.safetensors{DAMAGED}")
        old += [path for path in aside if kept and int(path.name.partition("-")[0]) < min(kept)]
        for path in (*old, *self.path.glob(".*.safetensors.*")):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("old checkpoint not removed", file=str(path), error=error.strerror)
