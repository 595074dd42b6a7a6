"""How much is measured, and where."""

from dataclasses import dataclass

import torch

from headrace.runtime.devices.choosing import open_device
from headrace.runtime.devices.host import Host
from headrace.runtime.devices.port import Device

MIB = 1 << 20


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        copied: bytes of a slot that is copied.
        weights: bytes of a version that is swapped in.
        seconds: of requests, without swaps and with them.
        rows: in a batch of a request.
        steps: optimizer steps of each way of training.
        width: of the network that is trained.
        compiled: whether torch.compile is tried.
    """

    copied: int
    weights: int
    seconds: float
    rows: int = 16
    steps: int = 200
    width: int = 1024
    compiled: bool = True


ON_GPU = Scale(copied=1024 * MIB, weights=256 * MIB, seconds=8.0)
ON_CPU = Scale(copied=64 * MIB, weights=16 * MIB, seconds=2.0, steps=30, width=256)


def choose(name: str) -> tuple[Device, Scale]:
    """The device that is checked; without a GPU, the processor told to copy.

    Raises:
        ConfigError: there is no such GPU.
    """
    device = open_device(name)
    return (Host(in_place=False), ON_CPU) if device.in_place else (device, ON_GPU)


def described(device: Device) -> str:
    """What a reader should know of the machine."""
    if device.torch_device.type != "cuda":
        return "no GPU: the processor, with weights copied as for one"
    return f"{torch.cuda.get_device_name(device.torch_device)}, torch {torch.__version__}"
