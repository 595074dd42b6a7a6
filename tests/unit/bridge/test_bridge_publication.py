"""Publishing to a server in memory: what it is given, and what it goes on serving when a version is no good."""

import io
import json

import numpy as np
import pytest
import torch
from torch import nn

from headrace.runtime.errors import DependencyError
from headrace.weights import StaticWeights, WeightsError
from services.bridge.publication import Publisher, Refused, Wrong
from services.bridge.repository import Repository
from services.bridge.version_files import config, served_version, version_files

FEATURES = torch.randn(5, 4)


class InMemoryServer:
    """Serves what is in the repository, as Triton does: the program that the configured version's folder holds."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.loaded = None
        self.error = None
        self.off_by = 0.0

    def load(self, model):
        if self.error is not None:
            raise self.error
        version = served_version(self._repository.config())
        program = (self._repository.folder / str(version) / "network.pt2").read_bytes()
        self.loaded = (version, self._repository.checkpoint(version), torch.export.load(io.BytesIO(program)).module())

    def unload(self, model):
        self.loaded = None

    def serves(self, model, version, checkpoint):
        return self.loaded is not None and self.loaded[:2] == (version, checkpoint)

    def infer(self, model, version, features):
        return self.loaded[2](torch.from_numpy(features)).detach().numpy() + np.float32(self.off_by)


def bound_of(version, network=None):
    torch.manual_seed(version)
    network = network or nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.BatchNorm1d(8), nn.Linear(8, 1), nn.Flatten(0))
    return StaticWeights(network, model="heat", version=version)._bound


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path, "heat")
    made.open()
    return made


@pytest.fixture
def server(repository):
    return InMemoryServer(repository)


@pytest.fixture
def publisher(repository, server):
    return Publisher(repository, server, FEATURES, keep=2)


def test_a_version_is_served_verified_and_older_ones_are_pruned(repository, server, publisher):
    """Two are kept; going back to one that was pruned writes it again."""
    bounds = {version: bound_of(version) for version in (1, 2, 3)}
    for version in (1, 2, 3):
        assert publisher.publish(bounds[version]) == 0.0
        assert server.loaded[:2] == (version, bounds[version].checkpoint)
    assert repository.versions() == [2, 3]
    publisher.publish(bounds[1])
    assert server.loaded[0] == 1
    assert repository.versions() == [1, 3]


@pytest.mark.parametrize(
    ("broken", "error"),
    [({"error": Refused("no backend")}, Refused), ({"off_by": 0.1}, Wrong), ({"off_by": float("nan")}, Wrong)],
)
def test_a_version_that_is_refused_or_answers_wrongly_leaves_the_one_before(
    repository, server, publisher, broken, error
):
    """Its folder goes, and the configuration names the version that was verified."""
    publisher.publish(bound_of(1))
    for name, value in broken.items():
        setattr(server, name, value)
    with pytest.raises(error):
        publisher.publish(bound_of(2))
    assert repository.versions() == [1]
    assert served_version(repository.config()) == 1
    assert server.loaded[0] == 1


def test_a_first_version_that_is_wrong_is_taken_out_of_service(repository, server, publisher):
    """Better no answer than a wrong one."""
    server.off_by = 1.0
    with pytest.raises(Wrong, match="answers differently by"):
        publisher.publish(bound_of(1))
    assert server.loaded is None
    assert (repository.versions(), repository.config()) == ([], "")


def test_a_server_that_is_away_finds_everything_when_it_comes_back(repository, server, publisher):
    """Nothing is taken back: the next attempt goes on from the folder that is there."""
    server.error = DependencyError("away")
    bound = bound_of(1)
    with pytest.raises(DependencyError):
        publisher.publish(bound)
    written = (repository.folder / "1" / "network.pt2").stat().st_mtime_ns
    server.error = None
    publisher.publish(bound)
    assert (repository.folder / "1" / "network.pt2").stat().st_mtime_ns == written


def test_another_checkpoint_of_the_same_number_takes_its_place(repository, server, publisher):
    """A trainer that began anew counts from 1 again."""
    publisher.publish(bound_of(1))
    again = bound_of(1, nn.Linear(4, 1))
    publisher.publish(again)
    assert repository.checkpoint(1) == again.checkpoint
    assert server.loaded[1] == again.checkpoint


def test_what_a_bridge_that_died_left_half_written_is_removed(repository):
    """Triton never looked at it: its name is no number."""
    (repository.folder / ".tmp-7").mkdir()
    (repository.folder / ".tmp-7" / "network.pt2").write_bytes(b"half")
    (repository.folder / ".tmp-config.pbtxt").write_text("half")
    repository.open()
    assert list(repository.folder.iterdir()) == []


def test_a_folder_says_where_its_version_comes_from():
    """And config.pbtxt what goes in and comes out: one number a row is a row of one."""
    bound = bound_of(3)
    files = version_files(bound, FEATURES)
    assert json.loads(files["checkpoint.json"])["checkpoint"] == bound.checkpoint
    assert b"TritonPythonModel" in files["model.py"]
    text = config(bound, FEATURES, torch.zeros(5), 64)
    assert 'input [ { name: "features" data_type: TYPE_FP32 dims: [ 4 ] } ]' in text
    assert 'output [ { name: "outputs" data_type: TYPE_FP32 dims: [ 1 ] } ]' in text
    assert bound.checkpoint in text
    assert served_version(text) == 3


def test_a_network_that_cannot_be_exported_is_refused_with_the_reason():
    """Control flow that depends on values."""

    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(WeightsError, match="control flow must not depend"):
        version_files(bound_of(1, Branching(4, 4)), FEATURES)
