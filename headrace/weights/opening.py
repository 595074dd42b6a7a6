"""Weights' parts from settings."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from headrace.runtime.settings import ServiceSettings
from headrace.weights.stores.port import ChunkStore, FallbackStore
from headrace.weights.stores.shared_storage import SharedStorageChunkStore
from headrace.weights.worker.client import socket_in


def open_store(settings: ServiceSettings) -> ChunkStore:
    """Return Redis in front of the durable store if `redis_url` is set, else that alone. Connects when first used.

    Raises:
        ConfigError: `storage_url` names no store that can be opened.
    """
    durable = _durable(settings)
    if not settings.redis_url:
        return durable
    from headrace.weights.stores.redis import RedisChunkStore

    return FallbackStore(RedisChunkStore(settings.redis_url), durable)


def _durable(settings: ServiceSettings) -> ChunkStore:
    url = settings.storage_url
    if not url:
        return SharedStorageChunkStore(settings.storage_folder)
    if is_file(url):  # a folder, where files can be synced and marked as used
        return SharedStorageChunkStore(Path(url2pathname(urlsplit(url).path)))
    from headrace.weights.stores.object_store import ObjectStoreChunkStore

    return ObjectStoreChunkStore(url)


def is_file(url: str) -> bool:
    """Whether a `storage_url` is a folder of this host."""
    return urlsplit(url).scheme in {"file", "local"}


def agent_socket(settings: ServiceSettings) -> Path:
    """Return the Unix socket of this run's agent."""
    return socket_in(settings.run_folder)


def signing_keys(settings: ServiceSettings) -> tuple[bytes, ...]:
    """Return the HMAC keys by which manifests may be signed; empty where they need no signature."""
    keys = (settings.signing_key, settings.also_valid_signing_key)
    return tuple(key.get_secret_value().encode() for key in keys if key is not None)


def signing_key(settings: ServiceSettings) -> bytes | None:
    """Return the manifests' HMAC key, or None where manifests are not signed."""
    return settings.signing_key.get_secret_value().encode() if settings.signing_key else None
