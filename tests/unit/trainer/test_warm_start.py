"""A warm start: a new model begins with the pretrained tensors that fit, and says which."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from headrace.runtime.errors import PipelineError
from headrace.weights import Manifest, fetch
from tests.unit.trainer.world_kit import World, digest, equal, values, weights_of

SHAPES = {"0.weight": (8, 1), "0.bias": (8,), "3.weight": (1, 8), "3.bias": (1,)}


def pretrained(**changes: Any) -> dict[str, torch.Tensor]:
    """The toy's tensors, all of them 0.25, with some changed; None leaves one out."""
    made = {name: torch.full(shape, 0.25) for name, shape in SHAPES.items()}
    return {name: tensor for name, tensor in {**made, **changes}.items() if tensor is not None}


def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)


def world(folder: Path, tensors: Any, name: str = "pretrained.safetensors", **training: Any) -> World:
    write(folder / "toy" / name, tensors)
    return World(folder, values(200), {"warm_start": name, **training})


@pytest.mark.parametrize("name", ["pretrained.safetensors", "pretrained.pt"])
@pytest.mark.parametrize("training", [{}, {"average": 0.9}, {"race": [0.5, 1.0]}])
def test_the_first_version_is_the_pretrained_weights(tmp_path: Path, name: str, training: dict[str, Any]) -> None:
    made = world(tmp_path, pretrained(), name, **training)
    trainer = made.trainer()
    (event,) = made.announcer.events
    assert equal(fetch(Manifest.decode(event.manifest), made.store), pretrained())
    for lane in trainer.learner.lanes:
        assert equal(dict(lane.network.state_dict()), pretrained())
    assert event.origin["warm_start"].startswith(f"{name} (")
    assert event.origin["warm_start"].endswith("): 4 of 4 tensors")


def test_what_does_not_fit_stays_as_it_was_initialised_and_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = weights_of(World(tmp_path / "fresh", values(0)).trainer())
    changes = {"0.bias": None, "3.weight": torch.ones(2, 8), "3.bias": torch.ones(1, dtype=torch.int64)}
    made = world(tmp_path / "warm", pretrained(**changes, head=torch.ones(2)))
    found = weights_of(made.trainer())
    assert equal(found, {**fresh, "0.weight": torch.full((8, 1), 0.25)})
    (event,) = made.announcer.events
    assert event.origin["warm_start"].endswith("1 of 4 tensors, 1 missing, 2 mismatched, 1 unused")
    said = capsys.readouterr().out
    for fact in ("matched=['0.weight']", "missing=['0.bias']", "unused=['head']", "float32[2, 8] in the file"):
        assert fact in said


def test_half_precision_takes_the_networks_type(tmp_path: Path) -> None:
    made = world(tmp_path, {name: tensor.half() for name, tensor in pretrained().items()})
    assert equal(weights_of(made.trainer()), pretrained())


def test_a_state_dict_inside_a_training_checkpoint_is_found(tmp_path: Path) -> None:
    made = world(tmp_path, {"epoch": 3, "state_dict": pretrained()}, "run.ckpt")
    assert equal(weights_of(made.trainer()), pretrained())


def test_a_model_that_has_a_checkpoint_goes_on_from_it_and_later_versions_do_not_tell_of_the_start(
    tmp_path: Path,
) -> None:
    straight = world(tmp_path / "straight", pretrained())
    straight.all_learned(straight.trainer())
    made = world(tmp_path / "killed", pretrained())
    made.killed_after(6, 13)
    write(tmp_path / "killed" / "toy" / "pretrained.safetensors", pretrained(**{"3.bias": torch.ones(1)}))
    made.all_learned(made.trainer())
    assert digest(made.newest()) == digest(straight.newest())
    assert ["warm_start" in event.origin for event in made.announcer.events] == [
        True,
        *[False] * (len(made.announcer.events) - 1),
    ]


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("code of a pickle ran",)


REFUSED: dict[str, tuple[str, Any, str]] = {
    "nothing matches": ("p.safetensors", {"head": torch.ones(2)}, "not one tensor matches: it has head"),
    "no tensors": ("p.pt", [1, 2], "a list, expected tensors by name"),
    "not finite": ("p.pt", {"3.bias": torch.tensor([float("nan")])}, "NaN or infinity in 3.bias"),
    "code": ("p.pt", {"3.bias": Evil()}, "Weights only load failed"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_is_of_no_use_is_refused_by_name(
    tmp_path: Path, case: tuple[str, Any, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, tensors, said = case
    made = world(tmp_path, tensors, name)
    with pytest.raises(PipelineError, match=said) as refused:
        made.trainer()
    assert name in str(refused.value)
    assert "code of a pickle ran" not in capsys.readouterr().out


def test_a_damaged_or_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    made = world(tmp_path, pretrained())
    path = tmp_path / "toy" / "pretrained.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(PipelineError, match=r"training.warm_start: .*pretrained.safetensors"):
        made.trainer()
    path.unlink()
    with pytest.raises(PipelineError, match="No such file"):
        made.trainer()
