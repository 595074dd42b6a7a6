"""A GPU by CUDA.

Requests compute on the stream that every thread begins with. Weights are copied, and new versions warmed up, on a
stream of their own, so a request waits for none of that unless both want the same part of the GPU.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import torch


class Cuda:
    """See `headrace.runtime.devices.port.Device`. Touches the GPU at its first use, not when it is made.

    Args:
        index: which GPU, of those that this process sees.
    """

    in_place = False

    def __init__(self, index: int = 0) -> None:
        self.name = f"cuda:{index}"
        self.torch_device = torch.device("cuda", index)

    @cached_property
    def _aside(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self.torch_device)  # type: ignore[no-untyped-call]

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """Through pinned memory, which torch keeps for the next batch."""
        with torch.cuda.device(self.torch_device):  # else memory would be pinned by the first GPU
            return tensor.pin_memory().to(self.torch_device, non_blocking=True)

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """One copy into pinned memory, and the only wait for the GPU of a batch."""
        with torch.cuda.device(self.torch_device):
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host.copy_(tensor.detach(), non_blocking=True)
            self.synchronize()
        return host

    @contextmanager
    def aside(self) -> Iterator[None]:
        """On the second stream."""
        with torch.cuda.stream(self._aside):
            yield

    def copy(self, into: Sequence[torch.Tensor], of: Sequence[torch.Tensor]) -> None:
        """Begin copies; they overlap with anything only where `of` is pinned."""
        torch._foreach_copy_(list(into), list(of), non_blocking=True)

    def synchronize(self) -> None:
        """Wait for this thread's stream."""
        torch.cuda.current_stream(self.torch_device).synchronize()

    def pin(self, address: int, size: int) -> str:
        """Register the memory with CUDA: 0.13 s a GiB."""
        try:
            with torch.cuda.device(self.torch_device):
                runtime = _runtime()
                error = runtime.cudaHostRegister(address, size, 0)
        except RuntimeError as problem:
            return str(problem)
        if not int(error):
            return ""
        # CUDA keeps the error for this thread, and the next kernel would be blamed for it.
        with suppress(RuntimeError):
            torch.empty(1, device=self.torch_device).fill_(1.0)
        return f"cudaHostRegister of {size} bytes: {runtime.cudaGetErrorString(error)}"

    def unpin(self, address: int) -> None:
        """Give the registration up."""
        with torch.cuda.device(self.torch_device):
            _runtime().cudaHostUnregister(address)


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
