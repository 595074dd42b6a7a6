"""Weights from a trainer to every worker: verified, in shared memory, swapped without a pause.

A trainer calls `publish` and sends `checkpoint_event(manifest)`. A worker holds a `WeightsSource`, in service a
`LiveWeights`, and answers under a `lease`. Between them stand services.ckpt's coordinator and agents.

Names are imported when first used: what moves bytes and no tensors (the agent, the coordinator) starts without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.weights.errors import NotReady, WeightsError
    from headrace.weights.format.checkpoint import Checkpoint, load_checkpoint
    from headrace.weights.format.manifest import Manifest, TensorSpec, check_signature, schema_hash, sign
    from headrace.weights.host.transfer import pull
    from headrace.weights.opening import agent_socket, open_store, signing_key
    from headrace.weights.publish.lineage import Lineage
    from headrace.weights.publish.publishing import checkpoint_event, fetch, publish
    from headrace.weights.stores.port import ChunkStore, FallbackStore, MemoryChunkStore
    from headrace.weights.worker.following import FollowedWeights
    from headrace.weights.worker.live import LiveWeights
    from headrace.weights.worker.source import Bound, StaticWeights, WeightsSource
    from headrace.weights.worker.subscribing import subscribe

_HOMES = {
    "Bound": "source",
    "Checkpoint": "checkpoint",
    "ChunkStore": "stores",
    "FallbackStore": "stores",
    "FollowedWeights": "following",
    "Lineage": "lineage",
    "LiveWeights": "live",
    "Manifest": "manifest",
    "MemoryChunkStore": "stores",
    "NotReady": "errors",
    "StaticWeights": "source",
    "TensorSpec": "manifest",
    "WeightsError": "errors",
    "WeightsSource": "source",
    "agent_socket": "opening",
    "check_signature": "manifest",
    "checkpoint_event": "publishing",
    "fetch": "publishing",
    "load_checkpoint": "checkpoint",
    "open_store": "opening",
    "publish": "publishing",
    "pull": "transfer",
    "schema_hash": "manifest",
    "sign": "manifest",
    "signing_key": "opening",
    "subscribe": "subscribing",
}

__all__ = [
    "Bound",
    "Checkpoint",
    "ChunkStore",
    "FallbackStore",
    "FollowedWeights",
    "Lineage",
    "LiveWeights",
    "Manifest",
    "MemoryChunkStore",
    "NotReady",
    "StaticWeights",
    "TensorSpec",
    "WeightsError",
    "WeightsSource",
    "agent_socket",
    "check_signature",
    "checkpoint_event",
    "fetch",
    "load_checkpoint",
    "open_store",
    "publish",
    "pull",
    "schema_hash",
    "sign",
    "signing_key",
    "subscribe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
