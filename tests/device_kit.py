"""A device on this machine's processor that does what a GPU does: late, and only when it was asked for."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from headrace.runtime.devices.host import Host


class SlowCopies(Host):
    """Copies when `synchronize` is called, in the thread that began them; counts what it is asked for.

    Args:
        refuses: why no memory can be pinned; "" where it can.
    """

    name = "cpu, as a GPU"

    def __init__(self, refuses: str = "") -> None:
        super().__init__(in_place=False)
        self._mine = threading.local()
        self._refuses = refuses
        self.pinned: dict[int, int] = {}
        self.pins = self.there = self.back = 0
        self.pieces: list[int] = []

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        self.there += 1
        return tensor.clone()

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        self.back += 1
        return tensor.detach().clone()

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._mine.aside = True
        try:
            yield
        finally:
            self._mine.aside = False

    def copy(self, into: Sequence[torch.Tensor], of: Sequence[torch.Tensor]) -> None:
        assert getattr(self._mine, "aside", False), "requests would wait for this copy"
        self._mine.begun = [*getattr(self._mine, "begun", []), (into, of)]
        self.pieces.append(sum(tensor.nbytes for tensor in into))

    def synchronize(self) -> None:
        begun, self._mine.begun = getattr(self._mine, "begun", []), []
        for into, of in begun:
            super().copy(into, of)

    def pin(self, address: int, size: int) -> str:
        self.pins += 1
        if not self._refuses:
            self.pinned[address] = size
        return self._refuses

    def unpin(self, address: int) -> None:
        del self.pinned[address]
