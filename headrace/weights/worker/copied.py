"""Networks on a device that cannot compute with the slot's memory: each has a set of tensors of its own there.

A version is copied into the set of a network that nobody uses, in pieces and beside the requests, while the others
answer. Sets are made once and recycled: of a model there are two between rollouts (the version that answers, and the
one before it) and a third while one is staged.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from headrace.runtime.devices.port import Device
from headrace.weights.errors import IncompatibleWeights
from headrace.weights.worker.shadow import MappedStructure, Structure, load_into, loads_plainly
from headrace.weights.worker.staging_throttle import GiveWay

PIECE_BYTES = 64 << 20
"""Bytes copied at once. On an H100 that a network of 0.2 ms answered from, p99 grew 1.3 times meanwhile; with pieces of
4 MiB 1.8 times, and 2.0 times with 1 GiB at once."""
_TENSORS_AT_ONCE = 32


class OnDevice(nn.Module):
    """A network on a device that takes features [N, ...] on the host and gives outputs [N, ...] on the host."""

    def __init__(self, inner: nn.Module, device: Device) -> None:
        super().__init__()
        self.inner = inner
        self._device = device

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """One copy there, one back."""
        return self._device.to_host(self.inner(self._device.to_device(features)))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of the network itself."""
        return self.inner.state_dict(*args, **kwargs)


class CopiedStructure:
    """See `headrace.weights.worker.shadow.Structure`."""

    def __init__(self, network: nn.Module, device: Device) -> None:
        self._device = device
        self._inner = network.eval().requires_grad_(requires_grad=False).to(device.torch_device)
        self.network: nn.Module = OnDevice(self._inner, device).eval()
        self._held: dict[str, torch.Tensor] = {}
        if loads_plainly(network):
            self._held = {name: tensor.detach() for name, tensor in self._inner.state_dict(keep_vars=True).items()}

    def load(self, tensors: Mapping[str, torch.Tensor], give_way: GiveWay) -> None:
        """Copy ``tensors`` into the network's own, and wait until they are there.

        Raises:
            IncompatibleWeights: names or shapes differ.
        """
        held = self._held
        if not held:
            load_into(
                self._inner, {name: tensor.to(self._device.torch_device, copy=True) for name, tensor in tensors.items()}
            )
            return
        if {name: tensor.shape for name, tensor in tensors.items()} != {name: to.shape for name, to in held.items()}:
            raise IncompatibleWeights("the network cannot take the weights: their names or shapes are not its own")
        for piece in pieces((held[name], tensor) for name, tensor in tensors.items()):
            give_way()
            self._device.copy(piece.into, piece.of)
            self._device.synchronize()

    def unload(self, give_way: GiveWay) -> None:
        """The tensors stay, for the next version."""


def structures_on(device: Device) -> Callable[[nn.Module], Structure]:
    """What `Shadows` makes structures by for this device."""
    return MappedStructure if device.in_place else lambda network: CopiedStructure(network, device)


class Piece(NamedTuple):
    """Tensors that are copied at once."""

    into: list[torch.Tensor]
    of: list[torch.Tensor]


def pieces(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], size: int = PIECE_BYTES) -> Iterator[Piece]:
    """Cut copies (into, of) into pieces of `size` bytes at most, where the memory of both is contiguous."""
    piece, room = Piece([], []), size
    for into, of in pairs:
        for part, source in _parts(into, of, size):
            nbytes = part.numel() * part.element_size()
            if piece.into and (nbytes > room or len(piece.into) == _TENSORS_AT_ONCE):
                yield piece
                piece, room = Piece([], []), size
            piece.into.append(part)
            piece.of.append(source)
            room -= nbytes
    if piece.into:
        yield piece


def _parts(into: torch.Tensor, of: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    if not into.numel():
        return
    if not (into.is_contiguous() and of.is_contiguous()):
        yield into, of
        return
    elements = max(1, size // into.element_size())
    yield from zip(torch.split(into.view(-1), elements), torch.split(of.view(-1), elements), strict=True)
