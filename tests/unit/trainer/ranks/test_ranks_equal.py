"""Two ranks on gloo learn what one process learns from the same batches."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from headrace.model.pipeline import load_pipeline
from headrace.model.spec import GatesSpec
from headrace.runtime.devices.host import HOST
from headrace.runtime.errors import ConfigError
from services.trainer.batches import Item
from services.trainer.gates import Gates
from services.trainer.learner import Learner
from services.trainer.ranks.group import Group
from services.trainer.ranks.learner import RankLearner
from services.trainer.ranks.trainer import check
from tests.line_kit import write_toy
from tests.patience import WAIT_S
from tests.unit.trainer.world_kit import values

SPLITS = (16, 11, 0, 5, 16)
"""Of each batch of 16, the examples that rank 0 has."""


def toy(folder: Path, **training: Any) -> Path:
    path = write_toy(folder / "toy", **training)
    model = path / "model.py"
    model.write_text(model.read_text().replace("torch.nn.Dropout(0.2), ", ""))
    return path


def batches(path: Path) -> list[list[Item]]:
    decode = load_pipeline(path).example_decoder.decode
    items = [Item(0, 0, o, decode(value)) for o, value in enumerate(values(160)[0])]
    items = [item._replace(example=_weighing(item.example, 1.0 + item.offset % 3)) for item in items]
    return [items[n * 16 : n * 16 + 16] for n in range(len(SPLITS))]


def _weighing(example: Any, importance: float) -> Any:
    example.weight = importance
    return example


def join_group(number: int, port: int) -> Group:
    """As one of two ranks."""
    os.environ |= {"RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    return Group(WAIT_S)


def rank(number: int, path: Path, port: int) -> None:
    group = join_group(number, port)
    learner = RankLearner(load_pipeline(path), 100, None, HOST, group=group)
    learner.gates = gates(learner)
    for batch, split in zip(batches(path), SPLITS, strict=True):
        assert learner.learn(batch[:split] if number == 0 else batch[split:]) == []
    assert learner.examples == 80
    torch.save([dict(lane.network.state_dict()) for lane in learner.lanes], path / f"rank-{number}.pt")
    torch.save((learner.followed, learner.gates.saved, learner.restarts), path / f"judged-{number}.pt")
    group.close()


def gates(learner: Learner) -> Gates:
    """With the first weights as published."""
    made = Gates(GatesSpec(examples=40), learner.model)
    made.publish(1, learner.lanes[0].weights())
    return made


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"clip_norm": 0.1, "average": 0.9},
        {"race": [0.1, 1.0, 3.0], "drift": {"ratio": 1.0001, "examples": 10}, "schedule": {"kind": "inverse_time"}},
    ],
)
def test_two_ranks_learn_what_one_process_does(tmp_path: Path, unused_port: int, training: dict[str, Any]) -> None:
    path = toy(tmp_path, **training)
    spawn(rank, (path, unused_port), nprocs=2)  # type: ignore[no-untyped-call]
    one = Learner(load_pipeline(path), 100)
    one.gates = gates(one)
    before = {name: tensor.clone() for name, tensor in one.lanes[0].network.state_dict().items()}
    for batch in batches(path):
        one.learn(batch)
    ranks = [torch.load(path / f"rank-{number}.pt") for number in range(2)]
    for i, lane in enumerate(one.lanes):
        for name, tensor in lane.network.state_dict().items():
            assert torch.equal(ranks[0][i][name], ranks[1][i][name])
            torch.testing.assert_close(ranks[0][i][name], tensor, rtol=1e-5, atol=1e-6)
            assert not torch.equal(tensor, before[name])
    judged = [torch.load(path / f"judged-{number}.pt") for number in range(2)]
    assert judged[0] == judged[1]
    assert (judged[0][0], judged[0][2]) == (one.followed, one.restarts)
    for ours, theirs in zip(judged[0][1], one.gates.saved, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_ranks_cannot_do_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.compile"):
        check(load_pipeline(toy(tmp_path, compile=True)))
