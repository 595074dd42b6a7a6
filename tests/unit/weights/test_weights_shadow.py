"""Shadow networks: no copies, no surprises, nothing bad let through."""

import mmap
import weakref

import pytest
import torch
from torch import nn

from headrace import RunningNorm
from headrace.weights import MemoryChunkStore, StaticWeights, VersionFacts, publish_version
from headrace.weights.errors import IncompatibleWeights, NonFiniteWeights, NotReady
from headrace.weights.format.payload import dump, view
from headrace.weights.worker.shadow import Shadows, check_finite, load_into


def build() -> nn.Module:
    return nn.Sequential(nn.Embedding(10, 4), nn.LSTM(4, 3), nn.BatchNorm1d(3))


def manifest_of(network: nn.Module):
    facts = VersionFacts(model="m", version=1, base_version=0, epoch=1, step=1)
    return publish_version(network.state_dict(), facts, store=MemoryChunkStore())


def test_a_shadow_serves_the_given_tensors_themselves():
    """Same storage, eval mode, no gradients; warmed up before anybody sees it."""
    source = build()
    tensors = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    warmed, seconds = [], {}
    shadows = Shadows(build, lambda network: warmed.append(network[0](torch.tensor([1]))))
    network = shadows.make(manifest_of(source), tensors, seconds)
    assert network[0].weight.data_ptr() == tensors["0.weight"].data_ptr()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(warmed[0], tensors["0.weight"][1:2])
    assert seconds.keys() == {"check", "load", "warm_up"}
    features = network[0](torch.tensor([1, 2]))
    assert torch.equal(network[1](features)[0], source[1](features)[0])


def test_structures_are_recycled_and_hollow_in_between():
    """Built once; a retired network holds no weights."""
    builds = []

    def counted():
        builds.append(1)
        return build()

    source = build()
    shadows = Shadows(counted)
    for _ in range(5):
        network = shadows.make(manifest_of(source), source.state_dict(), {})
        shadows.take_back(network)
        assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert len(builds) == 1


def test_later_versions_are_set_into_the_tensors_that_the_first_one_left():
    """No copy, no storage in between, and what a version with other shapes leaves is what was there."""
    make = lambda: nn.Sequential(nn.Embedding(10, 4), nn.LSTM(4, 3))  # noqa: E731 - all of it loads by assigning
    sources = [make() for _ in range(3)]
    shadows = Shadows(make)
    ids = torch.tensor([1, 2])
    network = shadows.make(manifest_of(sources[0]), sources[0].state_dict(), {})
    held = network[0].weight
    for source in sources[1:]:
        shadows.take_back(network)
        assert all(tensor.untyped_storage().nbytes() == 0 for tensor in network.state_dict().values())
        with pytest.raises(IncompatibleWeights):
            shadows.make(manifest_of(source), {**source.state_dict(), "0.weight": torch.zeros(1)}, {})
        tensors = {name: tensor.clone() for name, tensor in source.state_dict().items()}
        assert shadows.make(manifest_of(source), tensors, {}) is network
        assert network[0].weight is held
        assert held.data_ptr() == tensors["0.weight"].data_ptr()
        with torch.inference_mode():
            assert torch.equal(network(ids)[0], source(ids)[0])


@pytest.mark.parametrize("make", [build, lambda: nn.Sequential(RunningNorm(4), nn.Linear(4, 1))])
def test_a_network_that_is_taken_back_lets_its_memory_go_buffers_included(make):
    """Else its slot stays locked, and after a few versions none is free to stage another."""
    source, mapped = make(), []
    manifest, shadows = manifest_of(source), Shadows(make)
    for _ in range(3):
        memory = mmap.mmap(-1, manifest.size)
        memory.write(dump(source.state_dict())[-manifest.size :])
        mapped.append(weakref.ref(memory))
        network = shadows.make(manifest, view(memory, manifest.tensors), {})
        del memory
        assert mapped[-1]() is not None
        shadows.take_back(network)
    assert [memory() for memory in mapped] == [None] * 3


def test_a_network_that_loads_its_state_in_its_own_way_is_left_to_it():
    """For every version."""

    class Scaled(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
            super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
            self.doubled = self.weight * 2

    shadows = Shadows(lambda: Scaled(2, 1))
    for value in (1.0, 2.0, 3.0):
        state = {"weight": torch.full((1, 2), value), "bias": torch.zeros(1)}
        network = shadows.make(manifest_of(Scaled(2, 1)), state, {})
        assert torch.equal(network.doubled, state["weight"] * 2)
        shadows.take_back(network)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.complex64])
def test_weights_that_are_not_finite_are_refused(value, dtype):
    """In every floating dtype, wherever it stands."""
    tensor = torch.zeros(7)
    check_finite({"t": tensor.to(dtype), "n": torch.ones(2, dtype=torch.int64), "empty": torch.empty(0)})
    tensor[5] = value
    with pytest.raises(NonFiniteWeights, match="'t'"):
        check_finite({"t": tensor.to(dtype)})


def test_a_refused_version_leaves_the_structure_usable():
    """A failed load or warm-up costs nothing but the version."""
    source = build()
    state = source.state_dict()

    def explode(_network):
        raise ValueError("bad sample")

    shadows = Shadows(build, explode)
    manifest = manifest_of(source)
    with pytest.raises(ValueError, match="bad sample"):
        shadows.make(manifest, state, {})
    with pytest.raises(IncompatibleWeights):
        shadows.make(manifest, {**state, "0.weight": torch.zeros(1)}, {})
    with pytest.raises(IncompatibleWeights):
        load_into(build(), {"0.weight": state["0.weight"]})
    with pytest.raises(IncompatibleWeights):
        shadows.make(manifest_of(nn.Linear(1, 1)), state, {})


def test_static_weights_are_a_source_like_any_other():
    """Not ready, then ready, then swapped; a lease names version and checkpoint."""
    weights = StaticWeights(None, model="m")
    assert weights.version == 0
    assert not weights.wait_ready(0)
    with pytest.raises(NotReady):
        weights.lease()
    weights.swap(nn.Linear(1, 1), 3)
    with weights.lease() as bound:
        weights.swap(nn.Linear(1, 1), 4)
        assert (bound.version, weights.version) == (3, 4)
        assert bound.checkpoint == bound.manifest.digest
