"""One rpc process for the tests of a module."""

from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import save_file

from headrace.model.pipeline import load_pipeline
from tests.integration.ckpt.fleet import fleet
from tests.integration.rpc.rpc_process import FOLDER, Served, start, stop

__all__ = ["fleet", "served"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    run_dir = tmp_path_factory.mktemp("rpc")
    pipeline = load_pipeline(FOLDER)
    torch.manual_seed(7)
    network = pipeline.model.network().eval()
    save_file(network.state_dict(), run_dir / "weights.safetensors")
    process, endpoints = start(run_dir, "--weights", str(run_dir / "weights.safetensors"))
    one = Served(pipeline, network, endpoints, process)
    try:
        yield one
    finally:
        stop(process)
