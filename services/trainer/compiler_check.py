"""Whether torch.compile works on this machine, found out before training begins."""

import time

import torch

from headrace.runtime.devices.port import Device
from headrace.runtime.errors import ConfigError


def check_compiler(device: Device) -> None:
    """Compile a small function and its gradient, which takes some seconds.

    Raises:
        ConfigError: that is impossible here.
    """
    never_before = float(time.time_ns() % 1_000_003)  # else the compiler's cache on disk may have it

    def small(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) * never_before

    try:
        compiled = torch.compile(small, dynamic=True)
        some = torch.ones(3, device=device.torch_device, requires_grad=True)
        torch.autograd.grad(compiled(some).sum(), some)
    except Exception as error:  # the compiler and what it calls raise many kinds
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"training.compile: torch.compile does not work on this machine: {type(error).__name__}: {said}",
            hint="is a C++ compiler installed, as g++ or as CXX names it? Else set training.compile to false",
        ) from error
