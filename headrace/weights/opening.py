"""Weights' parts from settings."""

import hashlib
import os
import tempfile
from pathlib import Path

from headrace.runtime.settings import ServiceSettings
from headrace.weights.redis_store import RedisChunkStore
from headrace.weights.shared_storage import SharedStorageChunkStore
from headrace.weights.stores import ChunkStore, FallbackStore

_LONGEST_SOCKET_PATH = 100  # the kernel takes 107 bytes


def open_store(settings: ServiceSettings) -> ChunkStore:
    """Return Redis in front of shared storage if `redis_url` is set, else shared storage alone. Connects when first used."""
    durable = SharedStorageChunkStore(settings.storage_folder)
    if not settings.redis_url:
        return durable
    return FallbackStore(RedisChunkStore(settings.redis_url), durable)


def agent_socket(settings: ServiceSettings) -> Path:
    """Return the Unix socket of this run's agent: `<run_dir>/agent.sock`, or a short name where that is too long."""
    path = settings.run_folder.absolute() / "agent.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"headrace-agent-{os.getuid()}-{name}.sock"


def signing_key(settings: ServiceSettings) -> bytes | None:
    """Return the manifests' HMAC key, or None where manifests are not signed."""
    return settings.signing_key.get_secret_value().encode() if settings.signing_key else None
