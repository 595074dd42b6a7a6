"""The serving benchmark on a tiny load: that it measures, and checks, not what."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from benchmarks.serving.cell import Disqualified, Load, run
from benchmarks.serving.contestants import OURS, Stage
from benchmarks.serving.cores import divide
from benchmarks.serving.fleet import Versions, live_rpc, swapping
from benchmarks.serving.requests import make_requests
from benchmarks.serving.servers import Server
from benchmarks.serving.task.network import make_network, write_weights
from headrace.runtime.settings import ServiceSettings
from tests.conftest import Kafka

CORES = divide(shared=True)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    return write_weights(path), path


@pytest.fixture(scope="module")
def ours(network: tuple[nn.Module, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = OURS.start(Stage(tmp_path_factory.mktemp("run"), network[1], CORES))
    yield server
    server.stop()
    assert not server.alive()


@pytest.mark.parametrize("form", OURS.forms)
@pytest.mark.parametrize("batch", [1, 32])
def test_role_rpc_answers_every_form_rightly(
    ours: Server, network: tuple[nn.Module, Path], form: str, batch: int
) -> None:
    """Figures are of checked answers."""
    load = Load(form, in_flight=4, batch=batch, seconds=0.5, warm_up_s=0.1)
    found = run(ours, load, make_requests(form, network[0], batch), CORES).figures
    assert found.answered > 10
    assert found.decoded > 0
    assert found.requests_per_s == found.answered / 0.5
    assert 0 < found.p50 <= found.p99 <= found.worst
    assert found.cpu_us > 0
    assert ours.rss_mib() > 10


def test_server_that_answers_wrongly_is_disqualified(ours: Server) -> None:
    """Right values of another network are wrong ones."""
    load = Load("grpc", in_flight=4, seconds=0.5, warm_up_s=0.1)
    with pytest.raises(Disqualified, match="is right"):
        run(ours, load, make_requests("grpc", make_network(), 1), CORES)


def test_versions_change_under_the_load(
    kafka: Kafka, redis_url: str, network: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    """Every answer is of the version that it names, and no request fails."""
    settings = ServiceSettings(
        kafka_bootstrap_servers=kafka.bootstrap_servers, redis_url=redis_url, run_dir=tmp_path,
        storage_dir=tmp_path / "storage",
    )  # fmt: skip
    versions = Versions(settings, network[0])
    try:
        with live_rpc(Stage(tmp_path, network[1], CORES), settings, versions) as server, swapping(versions, 0.2):
            load = Load("grpc", in_flight=64, rate=200.0, seconds=2.0, warm_up_s=0.2)
            seen = run(server, load, make_requests("grpc", network[0], 1), CORES, by_version=True)
    finally:
        versions.close()
    assert seen.figures.answered == pytest.approx(400, abs=2)
    assert len(set(seen.versions)) > 1
