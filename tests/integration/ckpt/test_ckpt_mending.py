"""A corrupt chunk in the only store that has it: agent and trainer heal it between them, over the real Kafka."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from headrace.weights import fetch, open_store
from tests.integration.ckpt.fleet import Fleet
from tests.line_kit import running, write_toy


def toy() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))


def test_a_fleet_that_cannot_take_the_only_version_gets_it_from_its_trainer(fleet: Fleet, kafka: Any) -> None:
    """No example ever comes, so nothing else would make the trainer publish again."""
    pipeline = write_toy(fleet.folder / "toy", fleet.model, partitions=1, checkpoint_s=0.2)
    fleet.coordinator()
    with running("trainer", "trainer", pipeline, fleet.folder, kafka.bootstrap_servers) as trainer:
        trainer.endpoints()
        (chunk,) = Path(fleet.settings.storage_folder / fleet.model / "chunks").glob("*/*")
        chunk.write_bytes(bytes(chunk.stat().st_size))
        fleet.agent()
        bound = fleet.local("w", build=toy).expect(2)
        assert trainer.stop() == 0
    store = open_store(fleet.settings)
    kept = fetch(bound.manifest, store)
    store.close()
    assert kept.keys() == bound.network.state_dict().keys()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in bound.network.state_dict().items())
