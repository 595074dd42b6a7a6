"""What serving and training need of a device.

`headrace.runtime.devices.host` is the processor, `headrace.runtime.devices.cuda` a GPU. With `Host(in_place=False)` the
processor does all that a GPU does: a second set of tensors, copies in pieces, a flip.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch


class Device(Protocol):
    """A device. Safe to use from several threads.

    Attributes:
        name: as torch names it: cpu, cuda:0.
        torch_device: torch's own object.
        in_place: weights are used where the host has them mapped; elsewhere they are copied.
    """

    name: str
    torch_device: torch.device
    in_place: bool

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the host, on the device; what is computed next waits for it."""
        ...

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the device, computed to its end, on the host; without gradients."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """What this thread begins within the ``with`` block runs beside the requests of other threads."""
        ...

    def copy(self, into: Sequence[torch.Tensor], of: Sequence[torch.Tensor]) -> None:
        """Begin to copy tensors on the host into tensors on the device, of the same shapes and dtypes.

        Both must stay as they are until `synchronize`.
        """
        ...

    def synchronize(self) -> None:
        """Wait for what this thread began."""
        ...

    def pin(self, address: int, size: int) -> str:
        """Make `size` bytes of memory that is written by nobody else ones that are copied at full speed.

        Returns "", or why that is impossible here; then they are copied all the same.
        """
        ...

    def unpin(self, address: int) -> None:
        """Undo `pin`, before the memory goes."""
        ...
