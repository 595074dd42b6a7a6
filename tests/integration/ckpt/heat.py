"""Versions of the pipeline that `headrace new` writes: each a network of its own, whose answer tells which it is."""

import runpy
from pathlib import Path

import torch

from headrace.weights import ChunkStore, Manifest, VersionFacts, checkpoint_event, open_store, publish_version
from tests.integration.ckpt.fleet import Fleet

EXAMPLE = Path(__file__).parents[3] / "examples" / "weights_client.py"
NETWORK = runpy.run_path(str(EXAMPLE))["network"]
READING = torch.tensor([[0.25, 0.0, 0.5, 0.0]])


def release(fleet: Fleet, version: int, store: ChunkStore | None = None) -> tuple[Manifest, float]:
    """Play the trainer: publish a fresh network of the example's, and return what it answers."""
    torch.manual_seed(version)
    network = NETWORK()
    into = store or open_store(fleet.settings)
    manifest = publish_version(
        network.state_dict(),
        VersionFacts(model=fleet.model, version=version, base_version=version - 1, epoch=1, step=version),
        store=into,
    )
    into.close()
    fleet.send(checkpoint_event(manifest))
    with torch.inference_mode():
        return manifest, network(READING).item()
