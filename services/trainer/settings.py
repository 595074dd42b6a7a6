"""What the trainer can be told.

How it learns is in pipeline.yaml (`training`): that is part of what the pipeline means.
"""

from typing import Literal

from pydantic import Field

from headrace.runtime.devices.names import DeviceName
from headrace.runtime.settings import ServiceSettings
from headrace.weights.publish.lineage import ANCHOR_EVERY, Lineage


class TrainerSettings(ServiceSettings):
    """Settings of the role `trainer`."""

    model: str = Field(
        "", description="one of the pipeline's further models, by its name in pipeline.yaml; default its own"
    )
    torch_threads: int = Field(
        1, ge=1, description="threads of one tensor operation; with more, results may depend on their number"
    )
    device: DeviceName = Field(
        "cpu", description="where the network learns: cpu, cuda or cuda:N, or auto for the first GPU where there is one"
    )
    ranks: int = Field(1, ge=1, description="processes that train together, each with its share of the partitions")
    rank_timeout_s: float = Field(30.0, gt=0, description="seconds that a rank waits for the others before it ends")
    fetch: int = Field(4096, ge=1, description="examples read at once at most")
    poll_s: float = Field(0.05, gt=0, description="seconds to wait for them")
    window: int = Field(2000, ge=1, description="examples in the moving error")
    warm_up: int = Field(
        10_000, ge=0, description="examples before the checkpoint that baselines learn from again at a restart"
    )
    transaction_timeout_ms: int = Field(
        10_000, ge=1000, description="after which a crashed trainer's transaction is aborted"
    )
    deltas: Literal["auto", "off"] = Field(
        "auto", description="publish changed rows instead of chunks where that is less than half the bytes: auto or off"
    )
    anchor_every: int = Field(
        ANCHOR_EVERY, ge=1, description="every so many versions, all chunks of one are put into the stores: an anchor"
    )

    @property
    def lineage(self) -> Lineage | None:
        """What deltas are made with; None where they are off."""
        return Lineage(anchor_every=self.anchor_every) if self.deltas == "auto" else None
