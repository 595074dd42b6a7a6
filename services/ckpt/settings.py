"""Settings of both roles."""

import os
import socket

from pydantic import Field, field_validator

from headrace.runtime.settings import ServiceSettings
from headrace.weights.transfer import PARALLEL
from services.ckpt.policy import Policy


class AgentSettings(ServiceSettings):
    """Settings of the agent."""

    host_name: str = Field(default_factory=socket.gethostname, description="this host's name in reports")
    heartbeat_s: float = Field(1.0, gt=0, description="seconds between reports that the workers are still there")
    slots: int = Field(4, ge=3, description="shared-memory slots a model: two serving, one staging, and spare ones")
    nice: int = Field(
        10, ge=0, le=19, description="how far pulls step back on busy cores: 0 not at all, 10 to a tenth of what a worker gets"
    )
    stage_at_once: int = Field(
        max(1, (os.cpu_count() or 1) // 2), ge=1, description="workers that stage at the same time; default half of the cores"
    )
    parallel_pulls: int = Field(PARALLEL, ge=1, description="chunks pulled at the same time")


class CoordinatorSettings(ServiceSettings):
    """Settings of the coordinator."""

    quorum: str = Field(
        "all", description="workers that must be ready before a version is activated: all, majority or a number"
    )
    stage_timeout_s: float = Field(30.0, gt=0, description="seconds after which workers that are not ready are left behind")
    worker_ttl_s: float = Field(5.0, gt=0, description="seconds without a word after which a worker counts as gone")
    keep_versions: int = Field(8, ge=2, description="newest versions kept in the chunk stores for a roll back")
    sweep_every_s: float = Field(60.0, gt=0, description="seconds between removals of chunks that no kept version refers to")
    sweep_grace_s: float = Field(600.0, gt=0, description="seconds for which a chunk is spared after it was published")
    session_timeout_s: float = Field(6.0, gt=0, description="seconds after which a silent coordinator is replaced")

    @field_validator("quorum")
    @classmethod
    def _quorum(cls, value: str) -> str:
        if value not in {"all", "majority"} and not (value.isdigit() and int(value) > 0):
            raise ValueError("must be all, majority or a positive number")
        return value

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
        )
