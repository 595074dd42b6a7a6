"""The host's processor as a device."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch


class Host:
    """See `headrace.runtime.devices.port.Device`.

    Args:
        in_place: False copies weights as for a GPU, which is how that is tested without one.
    """

    name = "cpu"
    torch_device = torch.device("cpu")

    def __init__(self, *, in_place: bool = True) -> None:
        self.in_place = in_place

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor itself."""
        return tensor

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor itself."""
        return tensor.detach()

    def aside(self) -> AbstractContextManager[None]:
        """Threads run beside each other anyway."""
        return nullcontext()

    def copy(self, into: Sequence[torch.Tensor], of: Sequence[torch.Tensor]) -> None:
        """Copy at once."""
        torch._foreach_copy_(list(into), list(of))

    def synchronize(self) -> None:
        """Everything is done already."""

    def pin(self, address: int, size: int) -> str:  # noqa: ARG002
        """All memory is."""
        return ""

    def unpin(self, address: int) -> None:
        """Nothing was done to it."""


HOST = Host()
"""The processor, as serving uses it."""
