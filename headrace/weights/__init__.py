"""Weights from a trainer to every worker: verified, in shared memory, swapped without a pause.

A trainer calls `publish_version` and sends `checkpoint_event(manifest)`. A worker holds a `WeightsSource`, in service a
`LiveWeights`, and answers under a `lease`. Between them stand services.ckpt's coordinator and agents.

Names are imported when first used: what moves bytes and no tensors (the agent, the coordinator) starts without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.weights.errors import NotReady, WeightsError
    from headrace.weights.format.checkpoint import TensorFile, load_checkpoint
    from headrace.weights.format.facts import VersionFacts
    from headrace.weights.format.manifest import Manifest, TensorSpec, check_signature, schema_hash, sign
    from headrace.weights.host.fetching import fetch
    from headrace.weights.host.transfer import pull
    from headrace.weights.opening import agent_socket, open_store, signing_key, signing_keys
    from headrace.weights.publish.lineage import Lineage
    from headrace.weights.publish.publishing import checkpoint_event, publish_version
    from headrace.weights.stores.port import ChunkStore, FallbackStore, MemoryChunkStore
    from headrace.weights.worker.following import FollowedWeights
    from headrace.weights.worker.live import LiveWeights
    from headrace.weights.worker.source import Bound, StaticWeights, WeightsSource
    from headrace.weights.worker.subscribing import subscribe

_HOMES = {
    "Bound": "worker.source",
    "ChunkStore": "stores.port",
    "FallbackStore": "stores.port",
    "FollowedWeights": "worker.following",
    "Lineage": "publish.lineage",
    "LiveWeights": "worker.live",
    "Manifest": "format.manifest",
    "MemoryChunkStore": "stores.port",
    "NotReady": "errors",
    "StaticWeights": "worker.source",
    "TensorFile": "format.checkpoint",
    "TensorSpec": "format.manifest",
    "VersionFacts": "format.facts",
    "WeightsError": "errors",
    "WeightsSource": "worker.source",
    "agent_socket": "opening",
    "check_signature": "format.manifest",
    "checkpoint_event": "publish.publishing",
    "fetch": "host.fetching",
    "load_checkpoint": "format.checkpoint",
    "open_store": "opening",
    "publish_version": "publish.publishing",
    "pull": "host.transfer",
    "schema_hash": "format.manifest",
    "sign": "format.manifest",
    "signing_key": "opening",
    "signing_keys": "opening",
    "subscribe": "worker.subscribing",
}

__all__ = [
    "Bound",
    "ChunkStore",
    "FallbackStore",
    "FollowedWeights",
    "Lineage",
    "LiveWeights",
    "Manifest",
    "MemoryChunkStore",
    "NotReady",
    "StaticWeights",
    "TensorFile",
    "TensorSpec",
    "VersionFacts",
    "WeightsError",
    "WeightsSource",
    "agent_socket",
    "check_signature",
    "checkpoint_event",
    "fetch",
    "load_checkpoint",
    "open_store",
    "publish_version",
    "pull",
    "schema_hash",
    "sign",
    "signing_key",
    "signing_keys",
    "subscribe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
