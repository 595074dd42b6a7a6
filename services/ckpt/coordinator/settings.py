"""Settings of the role `coordinator`."""

import os
from typing import Self

from pydantic import Field, field_validator, model_validator

from headrace.weights.opening import is_file
from headrace.weights.stores.port import GRACE_S
from services.ckpt.coordinator.plan import PeerPolicy
from services.ckpt.coordinator.policy import Policy
from services.ckpt.settings import CheckpointSettings


class CoordinatorSettings(CheckpointSettings):
    """Settings of the coordinator."""

    quorum: str = Field(
        "all", description="workers that must be ready before a version is activated: all, majority or a number"
    )
    stage_timeout_s: float = Field(
        30.0, gt=0, description="seconds after which workers that are not ready are left behind"
    )
    worker_ttl_s: float = Field(5.0, gt=0, description="seconds without a report after which a worker counts as gone")
    canary_share: float = Field(
        0.0, ge=0, lt=1, description="share of workers that serve a new version first; 0: all at once"
    )
    canary_s: float = Field(60.0, gt=0, description="seconds for which they do, before the others follow")
    rollback_window_s: float = Field(
        600.0, ge=0, description="seconds after its activation in which a version is rolled back by itself; 0: never"
    )
    rollback_on_failures: bool = Field(
        default=True, description="roll back by itself when so many workers fail to activate that the quorum is lost"
    )
    rollback_on_alerts: bool = Field(
        default=True, description="roll back by itself on a critical alert that names the version"
    )
    activate_grace_s: float = Field(
        3.0, ge=0, description="seconds for which a worker may fail to activate before it counts"
    )
    keep_versions: int = Field(8, ge=2, description="newest versions kept in the chunk stores for a roll back")
    sweep_every_s: float = Field(
        60.0, gt=0, description="seconds between removals of chunks that no kept version refers to"
    )
    sweep_grace_s: float = Field(
        GRACE_S, gt=0, description="seconds for which a chunk is spared after it was published"
    )
    peer_min_bytes: int = Field(16 << 20, ge=0, description="agents take from each other what is at least so large")
    peer_fan_out: int = Field(4, ge=0, description="agents below an agent in a tree of the plan; 0 plans nothing")
    peer_stripes: int = Field(
        8, ge=1, description="trees of a plan, at most: so many agents take a share from the store"
    )
    session_timeout_s: float = Field(6.0, gt=0, description="seconds after which a silent coordinator is replaced")

    @field_validator("quorum")
    @classmethod
    def _quorum(cls, value: str) -> str:
        if value not in {"all", "majority"} and not (value.isdigit() and int(value) > 0):
            raise ValueError("must be all, majority or a positive number")
        return value

    @model_validator(mode="after")
    def _grace(self) -> Self:
        if self.storage_url and not is_file(self.storage_url) and self.sweep_grace_s < GRACE_S:
            raise ValueError(
                f"with storage_url, sweep_grace_s must be {GRACE_S:.0f} or more: claims cannot mark an object"
            )
        return self

    @property
    def member(self) -> str:
        """A name that outlives this process, or "": a coordinator of the same name takes its models back at once."""
        return "" if self.instance.endswith(f"-{os.getpid()}") else self.instance

    @property
    def policy(self) -> Policy:
        """How rollouts go."""
        return Policy(
            quorum=self.quorum,
            stage_timeout_s=self.stage_timeout_s,
            worker_ttl_s=self.worker_ttl_s,
            keep=self.keep_versions,
            canary_share=self.canary_share,
            canary_s=self.canary_s,
            rollback_window_s=self.rollback_window_s,
            rollback_on_failures=self.rollback_on_failures,
            rollback_on_alerts=self.rollback_on_alerts,
            activate_grace_s=self.activate_grace_s,
        )

    @property
    def peer_policy(self) -> PeerPolicy:
        """How agents take versions from each other."""
        return PeerPolicy(
            min_bytes=self.peer_min_bytes,
            fan_out=self.peer_fan_out,
            stripes=self.peer_stripes,
            ttl_s=self.worker_ttl_s,
        )
