"""Checkpoints: whole or not at all, exact, and nothing in them is pickled."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from headrace.runtime.errors import ExitCode, WeightsError
from headrace.weights.errors import StoreUnavailable
from services.trainer import randomness
from services.trainer.checkpoint import Checkpoint, CheckpointFolder, Header, Letter
from services.trainer.tree import copied, flatten, unflatten


def header(version: int, epoch: int = 1) -> Header:
    return Header(
        model="toy",
        version=version,
        base_version=version - 1,
        epoch=epoch,
        step=3,
        examples=12,
        topic="toy.examples",
        offsets={0: 7, 1: 5},
        partitions=[0, 1],
        batches=[[4, 3], [7, 5]],
        newest_label_us=99,
        created_at=1000 + version,
        metrics={"error": 0.1},
        progress={"model": (0.30000000000000004, 3)},
    )


def checkpoint(version: int = 1, epoch: int = 1) -> Checkpoint:
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    letters = [Letter(0, 3, b"key", b"value"), Letter(1, 4, None, b"")]
    return Checkpoint(
        header(version, epoch),
        copied(network.state_dict()),
        copied(optimizer.state_dict()),
        randomness.state(),
        letters,
    )


def same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return (
            isinstance(right, dict) and left.keys() == right.keys() and all(same(v, right[k]) for k, v in left.items())
        )
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return left == right


def test_a_checkpoint_comes_back_from_its_bytes_exactly() -> None:
    made = checkpoint()
    found = Checkpoint.decode(made.encode())
    assert found.header == made.header
    assert found.letters == made.letters
    assert same(found.weights, made.weights)
    assert same(found.optimizer, made.optimizer)
    assert same(found.random, made.random)


def test_random_generators_go_on_where_they_were() -> None:
    randomness.seed(3)
    saved = Checkpoint.decode(checkpoint().encode()).random
    wanted = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1))
    randomness.restore(saved)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)) == wanted


def test_nested_state_of_any_plain_kind_survives() -> None:
    state = {"state": {0: {"step": torch.tensor(1.0), "history": [torch.zeros(2), (1, None, "x", True)]}}, "lr": 0.1}
    tensors: dict[str, torch.Tensor] = {}
    assert same(unflatten(flatten(state, "optimizer", tensors), tensors), state)


def test_state_that_would_need_pickling_is_refused_by_name() -> None:
    with pytest.raises(WeightsError, match="optimizer/schedule is a function"):
        flatten({"schedule": copied}, "optimizer", {})


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "toy")
    for version in (1, 2, 3):
        folder.write(checkpoint(version))
    newest, second = folder.entries()[:2]
    newest.path.write_bytes(newest.path.read_bytes()[:-10])
    data = bytearray(second.path.read_bytes())
    data[-3] ^= 1
    second.path.write_bytes(data)
    assert [found.version for _, found in folder.readable()] == [1]


def test_of_one_version_the_later_trainers_file_comes_first(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "toy")
    folder.write(checkpoint(2, epoch=1))
    folder.write(checkpoint(2, epoch=2))
    assert [(entry.epoch, found.epoch) for entry, found in folder.readable()] == [(2, 2), (1, 1)]


def test_pruning_keeps_the_newest_versions_and_removes_what_dead_trainers_left(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "toy")
    for version in range(1, 6):
        folder.write(checkpoint(version))
    stale = folder.path / ".00000009-e1-x.safetensors.123"
    stale.write_bytes(b"half")
    folder.prune(2)
    assert [entry.version for entry in folder.entries()] == [5, 4]
    assert not stale.exists()


def test_what_cannot_be_pruned_stops_nothing(tmp_path: Path) -> None:
    """A folder in a file's place stands for storage that removes nothing; files after it go."""
    folder = CheckpointFolder(tmp_path, "toy")
    for version in (1, 3):
        folder.write(checkpoint(version))
    stuck = folder.path / f"00000002-e1-{'0' * 32}.safetensors"
    stuck.mkdir()
    folder.prune(1)
    assert [entry.version for entry in folder.entries()] == [3, 2]


def test_storage_that_refuses_is_named(tmp_path: Path) -> None:
    """And ends the trainer with the code that says so: nothing is wrong with the weights."""
    (tmp_path / "toy").write_text("a file where the folder should be")
    with pytest.raises(StoreUnavailable, match=r"cannot write.*mounted") as refused:
        CheckpointFolder(tmp_path, "toy").write(checkpoint())
    assert refused.value.exit_code == ExitCode.DEPENDENCY
