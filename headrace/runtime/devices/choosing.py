"""From the setting `device` to a device."""

import torch

from headrace.runtime.devices.cuda import Cuda
from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import ConfigError


def open_device(name: str) -> Device:
    """The device of that name; `auto` is the first GPU where torch sees one, else the processor.

    Raises:
        ConfigError: there is no such GPU, or torch cannot use it.
    """
    count = 0 if name == "cpu" else _gpus()
    if name == "cpu" or (name == "auto" and not count):
        return HOST
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        raise ConfigError(f"--device {name}: {_what_is_there(count)}", hint="--device auto takes a GPU where one is")
    return Cuda(index)


def _gpus() -> int:
    """How many GPUs torch can use in this process."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _what_is_there(count: int) -> str:
    if count:
        return f"this process sees {count} GPU{'s' if count > 1 else ''}, from cuda:0 on"
    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    return "torch sees no GPU on this machine: is there one, with a driver, in CUDA_VISIBLE_DEVICES?"
