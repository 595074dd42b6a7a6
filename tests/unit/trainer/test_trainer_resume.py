"""Whatever is set and wherever it is killed, a trainer that resumes comes to the very same state; damaged files too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.weights.errors import StoreUnavailable
from services.trainer.checkpoint import DAMAGED
from tests.line_kit import example, needs_compiler
from tests.unit.trainer.world_kit import World, digest, values, weights_of

REPLAY = {"replay": {"window": 90, "examples": 24, "steps": 2}}
AVERAGE = {"average": 0.9}
INVERSE = {"schedule": {"kind": "inverse_time", "start": 4.0, "steps": 5, "warm_up": 3}}
COSINE = {"schedule": {"kind": "cosine", "start": 3.0, "steps": 20}}
DRIFT = {"drift": {"ratio": 1.01, "examples": 40}}
CLIP = {"clip_norm": 0.5}
RACE = {"race": [0.3, 1.0, 10.0]}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "replay": REPLAY,
    "average": AVERAGE,
    "inverse_time": INVERSE,
    "cosine": COSINE,
    "drift": DRIFT | INVERSE,
    "race": RACE,
    "replay+average": REPLAY | AVERAGE,
    "replay+drift": REPLAY | DRIFT | COSINE,
    "replay+race": REPLAY | RACE,
    "average+schedule": AVERAGE | COSINE | CLIP,
    "average+race": AVERAGE | RACE,
    "race+schedule+drift": RACE | INVERSE | DRIFT,
    "everything": REPLAY | AVERAGE | INVERSE | DRIFT | CLIP | RACE,
    "bf16": {"precision": "bf16"},
    "bf16 everything": {"precision": "bf16"} | REPLAY | AVERAGE | INVERSE | DRIFT | CLIP | RACE,
}
OPTIMIZERS = {
    "adam": "",
    "momentum": "torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)",
    "two groups": "torch.optim.AdamW([{'params': list(network.parameters())[:2], 'lr': rate / 2},"
    " {'params': list(network.parameters())[2:]}], lr=rate)",
    "amsgrad": "torch.optim.Adam(network.parameters(), lr=rate, amsgrad=True)",
}
COUNT = 400


def examples() -> dict[int, list[bytes]]:
    """With some that cannot be decoded, computed or learned from."""
    made = values(COUNT)
    for p, o in ((0, 31), (1, 90)):
        made[p][o] = b"no json"
    for p, o in ((1, 12), (0, 77)):
        made[p][o] = example(p, o, 10 * o + 3 * p, 2e6)
    made[0][120] = example(0, 120, 1200, 0.5, y=1e6)
    return made


def straight(folder: Path, training: dict[str, Any], model: str = "") -> str:
    """The state of a trainer that nothing happened to."""
    world = World(folder, examples(), training, model=model)
    world.all_learned(world.trainer())
    return digest(world.newest())


@pytest.mark.parametrize("training", SETTINGS.values(), ids=SETTINGS.keys())
def test_killed_again_and_again_it_comes_to_the_same_state(tmp_path: Path, training: dict[str, Any]) -> None:
    wanted = straight(tmp_path / "straight", training)
    for batches in (5, 6, 7, 11):
        world = World(tmp_path / str(batches), examples(), training)
        for fetch in (13, 3):
            world.killed_after(batches, fetch)
        resumed = world.trainer(fetch=5)
        assert 0 < resumed.learner.examples < COUNT
        world.all_learned(resumed)
        assert digest(world.newest()) == wanted, f"killed after {batches} batches"
        places = [(letter.partition, letter.offset) for letter in world.announcer.sent]
        assert sorted(places) == sorted(set(places)), "each dead letter once"


@needs_compiler
@pytest.mark.parametrize("more", [{}, SETTINGS["bf16 everything"]], ids=["plain", "bf16 everything"])
def test_compiled_it_comes_to_the_same_state_too(tmp_path: Path, more: dict[str, Any]) -> None:
    training = {"compile": True, **more}
    wanted = straight(tmp_path / "straight", training)
    world = World(tmp_path / "killed", examples(), training)
    for batches, fetch in ((9, 13), (7, 3)):
        world.killed_after(batches, fetch)
    world.all_learned(world.trainer(fetch=5))
    assert digest(world.newest()) == wanted


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_whatever_the_optimizer_keeps_comes_back(tmp_path: Path, optimizer: str) -> None:
    model = f"\n    def optimizer(self, network, rate):\n        return {optimizer}\n" if optimizer else ""
    training = INVERSE | AVERAGE
    wanted = straight(tmp_path / "straight", training, model)
    world = World(tmp_path / "killed", examples(), training, model=model)
    world.killed_after(9, 13)
    world.all_learned(world.trainer(fetch=5))
    assert digest(world.newest()) == wanted


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE: list[Callable[[Path], None]] = [truncated, flipped, emptied]


@pytest.mark.parametrize("damage", DAMAGE)
def test_of_a_damaged_newest_checkpoint_the_one_before_is_used_with_its_offsets(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """It learns the examples in between again, to the same weights; their dead letters are not sent twice."""
    wanted = straight(tmp_path / "straight", REPLAY)
    world = World(tmp_path / "damaged", examples(), REPLAY, settled=True)
    world.killed_after(12, 13)
    newest, before = world.checkpoints.entries()[:2]
    offsets = world.checkpoints.read(before).header.offsets
    damage(newest.path)

    resumed = world.trainer(fetch=5)
    assert resumed.batcher.positions == offsets
    assert world.recorder.damaged_files == 1
    assert resumed.version == newest.version, "the damaged one was announced: the next is above it"
    assert not newest.path.exists()
    assert newest.path.with_name(newest.path.name + DAMAGED).exists()
    assert "going back to an earlier checkpoint" in "".join(capsys.readouterr())
    world.all_learned(resumed)
    assert digest(world.newest()) == wanted
    versions = [event.version for event in world.announcer.events]
    assert versions == sorted(set(versions))
    places = [(letter.partition, letter.offset) for letter in world.announcer.sent]
    assert sorted(places) == sorted(set(places))


def test_with_every_checkpoint_damaged_a_model_begins_anew_above_all_versions(tmp_path: Path) -> None:
    wanted = straight(tmp_path / "straight", {})
    world = World(tmp_path / "damaged", examples())
    world.killed_after(12, 13)
    last, entries = world.announcer.events[-1].version, world.checkpoints.entries()
    for entry in entries:
        flipped(entry.path)
    trainer = world.trainer()
    assert world.recorder.damaged_files == len(entries)
    assert (trainer.version, trainer.learner.examples) == (last + 1, 0)
    world.all_learned(trainer)
    assert digest(world.newest()) == wanted
    places = [(letter.partition, letter.offset) for letter in world.announcer.sent]
    assert sorted(places) == sorted(set(places))


def test_a_damaged_file_that_was_set_aside_goes_with_the_checkpoints_of_its_time(tmp_path: Path) -> None:
    world = World(tmp_path, examples())
    world.killed_after(12, 13)
    truncated(world.checkpoints.entries()[0].path)
    trainer = world.trainer()
    assert list(world.checkpoints.path.glob(f"*{DAMAGED}"))
    world.all_learned(trainer)
    assert not list(world.checkpoints.path.glob(f"*{DAMAGED}"))
    assert all(t.isfinite().all() for t in weights_of(trainer).values())


def test_storage_that_cannot_be_read_is_not_taken_for_damage(tmp_path: Path) -> None:
    """The model must not begin anew because a disk does not answer: the trainer ends, and its next start tries again.

    A folder in a file's place stands for such a disk.
    """
    world = World(tmp_path, examples())
    world.killed_after(12, 13)
    newest = world.checkpoints.entries()[0]
    data = newest.path.read_bytes()
    newest.path.unlink()
    newest.path.mkdir()
    with pytest.raises(StoreUnavailable, match="cannot read"):
        world.trainer()
    newest.path.rmdir()
    newest.path.write_bytes(data)
    assert world.trainer().version == newest.version
