"""Weights on a device: sets of tensors, copies in pieces, slots that are pinned once."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs
from torch import nn

from headrace.runtime.devices.host import Host
from headrace.weights import MemoryChunkStore, VersionFacts, publish_version, pull
from headrace.weights.errors import IncompatibleWeights
from headrace.weights.host.slots import SlotPool
from headrace.weights.worker.copied import PIECE_BYTES, OnDevice, pieces, structures_on
from headrace.weights.worker.mapping import map_slot
from headrace.weights.worker.pinned_slots import PinnedSlots
from headrace.weights.worker.shadow import Shadows
from tests.device_kit import SlowCopies
from tests.slot_kit import map_tensors


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def published(network: nn.Module, version: int = 1, store: MemoryChunkStore | None = None):
    facts = VersionFacts(model="m", version=version, base_version=version - 1, epoch=1, step=1)
    return publish_version(network.state_dict(), facts, store=store or MemoryChunkStore())


@pytest.fixture
def device():
    return SlowCopies()


def test_versions_have_sets_of_their_own_and_a_set_is_recycled_only_after_it_was_taken_back(device):
    """What answers stays as it is while the next version is copied beside it."""
    shadows, sources = Shadows(build, structure=structures_on(device)), [build() for _ in range(4)]
    features = torch.randn(8, 4)
    served: list[nn.Module] = []
    with torch.inference_mode(), device.aside():
        for version, source in enumerate(sources, 1):
            served.append(shadows.make(published(source), source.state_dict(), {}))
            for network, of in list(zip(served, sources, strict=False))[-2:]:
                assert torch.equal(network(features), of.eval()(features))
            if version > 1:
                shadows.take_back(served[-2])
    assert len({id(network) for network in served}) == 2
    assert device.there == device.back > 0


def test_a_set_is_memory_of_its_own_and_nothing_of_the_source_stays(device):
    source = build()
    state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    with device.aside():
        network = Shadows(build, structure=structures_on(device)).make(published(source), state, {})
    for tensor in state.values():
        tensor.zero_()
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in network.state_dict().items())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_features_go_there_once_and_outputs_come_back_once(device):
    network = OnDevice(build().eval(), device)
    network(torch.randn(8, 4))
    assert (device.there, device.back) == (1, 1)


def test_other_names_or_shapes_are_refused_and_the_set_is_usable_afterwards(device):
    shadows, source = Shadows(build, structure=structures_on(device)), build()
    state, manifest = source.state_dict(), published(source)
    with device.aside():
        for wrong in ({**state, "0.weight": torch.zeros(1)}, {"0.weight": state["0.weight"]}):
            with pytest.raises(IncompatibleWeights):
                shadows.make(manifest, wrong, {})
        network = shadows.make(manifest, state, {})
    assert torch.equal(network.state_dict()["0.weight"], state["0.weight"])


def test_a_network_that_loads_its_state_in_its_own_way_does_so_on_a_device(device):
    class Scaled(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
            super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
            self.doubled = self.weight * 2

    shadows = Shadows(lambda: Scaled(2, 1), structure=structures_on(device))
    for value in (1.0, 2.0):
        state = {"weight": torch.full((1, 2), value), "bias": torch.zeros(1)}
        with device.aside():
            network = shadows.make(published(Scaled(2, 1)), state, {})
        assert torch.equal(network.inner.doubled, state["weight"] * 2)
        assert network.inner.weight.data_ptr() != state["weight"].data_ptr()
        shadows.take_back(network)


def test_copies_are_cut_into_pieces_and_small_tensors_share_one(device):
    shapes = [(10, 10), (3,), (), (0,), (7, 30), (5,)]
    into, of = [torch.zeros(shape) for shape in shapes], [torch.randn(shape) for shape in shapes]
    sizes = []
    for piece in pieces(zip(into, of, strict=True), size=256):
        sizes.append(sum(tensor.nbytes for tensor in piece.into))
        with device.aside():
            device.copy(piece.into, piece.of)
            device.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(into, of, strict=True))
    assert sizes == [256, 160, 256, 256, 256, 92]
    assert PIECE_BYTES == 64 << 20


def test_many_small_tensors_are_not_one_piece():
    tensors = [torch.zeros(1) for _ in range(100)]
    assert [len(piece.into) for piece in pieces(zip(tensors, tensors, strict=True))] == [32, 32, 32, 4]


def test_a_tensor_that_is_not_contiguous_is_copied_whole():
    into, of = torch.zeros(64, 64).t(), torch.randn(64, 64)
    for piece in pieces([(into, of)], size=256):
        Host(in_place=False).copy(piece.into, piece.of)
    assert torch.equal(into, of)


# Slots.


class Slots:
    """A pool of an agent, and a worker's pinned maps of it."""

    def __init__(self, folder: Path, device: SlowCopies) -> None:
        self.store, self.pool = MemoryChunkStore(), SlotPool("test", limit=2, root=folder)
        self.pinned, self.device = PinnedSlots(device), device

    def put(self, version: int, width: int = 4):
        """Write a version whose weights are its number into slot after slot."""
        manifest = published(nn.Linear(width, 1), version, self.store)
        slot = self.pool.acquire(manifest.size)
        pull(manifest, self.store, slot.begin(manifest, manifest.digest), present=slot.chunks)
        slot.seal(manifest, manifest.digest)
        return slot.path, manifest

    def read(self, path: Path, manifest) -> tuple[dict[str, torch.Tensor], bool]:
        """The tensors, copied, and whether they come from pinned memory."""
        mapped = map_slot(path, manifest, manifest.digest)
        with self.pinned.tensors(path, mapped, manifest, manifest.digest) as tensors:
            address = next(iter(tensors.values())).data_ptr()
            starts = self.device.pinned.items()
            within = any(start <= address < start + size for start, size in starts)
            return {name: tensor.clone() for name, tensor in tensors.items()}, within


@pytest.fixture
def slots(tmp_path, device):
    made = Slots(tmp_path, device)
    with ExitStack() as stack:
        stack.callback(made.pool.close)
        stack.callback(made.pinned.close)
        yield made


def test_a_slot_is_pinned_once_for_all_versions_that_are_written_into_it(slots, device):
    for version in range(1, 6):
        path, manifest = slots.put(version)
        tensors, pinned = slots.read(path, manifest)
        assert pinned
        assert torch.equal(tensors["weight"], map_tensors(path, manifest, manifest.digest)["weight"])
    assert device.pins == 1
    slots.pinned.close()
    assert device.pinned == {}


def test_a_slot_that_has_grown_is_pinned_anew(slots, device):
    slots.read(*slots.put(1))
    tensors, pinned = slots.read(*slots.put(2, width=5000))
    assert pinned
    assert tensors["weight"].shape == (1, 5000)
    assert (device.pins, len(device.pinned)) == (2, 1)


def test_the_agent_may_write_a_slot_again_once_it_was_copied(slots):
    path, manifest = slots.put(1)
    slots.read(path, manifest)
    slot = slots.pool.find(manifest.digest)
    assert slot.try_lock()
    slot.abandon()


def test_a_slot_is_locked_while_it_is_copied_from(slots):
    path, manifest = slots.put(1)
    mapped = map_slot(path, manifest, manifest.digest)
    with slots.pinned.tensors(path, mapped, manifest, manifest.digest):
        del mapped
        assert not slots.pool.find(manifest.digest).try_lock()


def test_another_file_in_the_slots_place_is_not_what_is_copied(slots, tmp_path):
    """An agent was replaced between map and copy: the version's own map serves."""
    path, manifest = slots.put(1)
    mapped, expected = (
        map_slot(path, manifest, manifest.digest),
        map_tensors(path, manifest, manifest.digest)["weight"].clone(),
    )
    path.unlink()
    slots.pool.close()
    slots.pool = SlotPool("test", limit=2, root=tmp_path)
    assert slots.put(2)[0] == path
    with slots.pinned.tensors(path, mapped, manifest, manifest.digest) as tensors:
        assert torch.equal(tensors["weight"], expected)


def test_the_memory_of_a_removed_slot_is_let_go_with_the_next_version(slots, device, tmp_path):
    slots.read(*slots.put(1))
    slots.pool.close()
    slots.pool = SlotPool("test", limit=2, root=tmp_path)
    slots.read(*slots.put(2))
    assert (device.pins, len(device.pinned)) == (2, 1)


def test_where_memory_cannot_be_pinned_versions_are_copied_all_the_same_and_the_log_says_so_once(tmp_path):
    slots = Slots(tmp_path, SlowCopies(refuses="out of memory to lock"))
    with ExitStack() as stack:
        stack.callback(slots.pool.close)
        with capture_logs() as logs:
            for version in (1, 2):
                path, manifest = slots.put(version)
                tensors, pinned = slots.read(path, manifest)
                assert not pinned
                assert torch.equal(tensors["weight"], map_tensors(path, manifest, manifest.digest)["weight"])
    assert [(line["log_level"], line["error"]) for line in logs] == [("warning", "out of memory to lock")]
    assert slots.device.pins == 1
