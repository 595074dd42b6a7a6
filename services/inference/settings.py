"""Settings that both roles of inference have."""

from pydantic import Field

from headrace.runtime.devices.names import DeviceName
from headrace.runtime.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """Settings of both roles."""

    torch_threads: int = Field(
        1, ge=1, description="threads of one forward pass; processes, not threads, use the other cores"
    )
    device: DeviceName = Field(
        "cpu", description="where networks compute: cpu, cuda or cuda:N, or auto for the first GPU where there is one"
    )
