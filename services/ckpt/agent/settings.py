"""Settings of the role `agent`."""

import os
import socket

from pydantic import Field

from headrace.weights.format.parallel import PARALLEL
from headrace.weights.host.peers.client import PATIENCE_S
from services.ckpt.settings import CheckpointSettings


class AgentSettings(CheckpointSettings):
    """Settings of the agent."""

    host_name: str = Field(default_factory=socket.gethostname, description="this host's name in reports")
    heartbeat_s: float = Field(1.0, gt=0, description="seconds between reports that the workers are still there")
    slots: int = Field(
        4,
        ge=3,
        description="shared-memory slots a model: two serving, one staging, and spare ones; more where "
        "workers keep more versions for requests to name",
    )
    fence_grace_s: float = Field(
        5.0,
        ge=0,
        description="seconds for which a worker may serve another version than it is to, before it is not ready",
    )
    stage_at_once: int = Field(
        os.cpu_count() or 1, ge=1, description="workers that stage at the same time; default as many as there are cores"
    )
    parallel_pulls: int = Field(PARALLEL, ge=1, description="chunks pulled at the same time")
    peers: bool = Field(
        default=True, description="serve chunks to other agents, and take theirs where the coordinator plans it"
    )
    peer_port: int = Field(0, ge=0, le=65535, description="port at which other agents take chunks; 0 takes a free one")
    peer_host: str = Field("", description="name or address at which others reach it; default host, or host_name")
    peer_connections: int = Field(
        64, ge=1, description="agents served at the same time; more take the chunks elsewhere"
    )
    peer_patience_s: float = Field(
        PATIENCE_S, gt=0.25, description="seconds of silence after which another agent is given up"
    )
