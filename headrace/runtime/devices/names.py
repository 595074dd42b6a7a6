"""How a setting names a device; without torch, which settings must not wait for."""

from typing import Annotated

from pydantic import StringConstraints

DeviceName = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")]
"""`auto`, `cpu`, `cuda` or `cuda:<n>`; `headrace.runtime.devices.choosing.open_device` takes it."""
