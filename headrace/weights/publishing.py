"""The trainer's side: a version's tensors into a store, and the event that announces them; and back, for offline use."""

import math
import time
from collections.abc import Mapping
from functools import partial

import torch

from headrace.contracts import events_pb2
from headrace.weights.chunks import CHUNK_SIZE, digest_of, spans
from headrace.weights.manifest import Manifest, schema_hash, sign
from headrace.weights.payload import dump, layout, view
from headrace.weights.stores import ChunkStore
from headrace.weights.transfer import in_parallel, pull


def publish(
    state_dict: Mapping[str, torch.Tensor],
    *,
    model: str,
    version: int,
    base_version: int,
    epoch: int,
    step: int,
    offsets: Mapping[str, Mapping[int, int]],
    metrics: Mapping[str, float],
    store: ChunkStore,
    chunk_size: int = CHUNK_SIZE,
    created_at: int | None = None,
) -> Manifest:
    """Put a version's chunks into ``store`` and return its manifest, to be sent as `checkpoint_event(manifest)`.

    Only chunks that the store lacks are written, so that publishing again after a crash costs little. The event must
    follow within the stores' grace period (ten minutes), or the chunks may be swept.

    Args:
        state_dict: the network's tensors, on any device.
        model: the model's name.
        version: this version, 1 or more.
        base_version: the version before; 0 for the first.
        epoch: the trainer's fencing epoch.
        step: optimizer steps taken.
        offsets: topic → partition → next offset to read.
        metrics: figures to show beside the version; those that are not finite are left out.
        store: where the chunks go.
        chunk_size: bytes a chunk.
        created_at: microseconds since the epoch, now by default; give the checkpoint file's to publish it again
            unchanged.

    Raises:
        StoreUnavailable: a chunk could not be written durably.
    """
    payload = memoryview(dump(state_dict))
    specs = layout(payload.obj)  # type: ignore[arg-type]
    digests = [(digest_of(payload[start:end]), start, end) for start, end in spans(len(payload), chunk_size)]
    manifest = Manifest(
        model=model,
        version=version,
        base_version=base_version,
        epoch=epoch,
        step=step,
        offsets={topic: dict(of) for topic, of in offsets.items()},
        schema_hash=schema_hash((spec.name, spec.dtype, spec.shape) for spec in specs),
        tensors=specs,
        size=len(payload),
        chunk_size=chunk_size,
        chunks=[digest for digest, _, _ in digests],
        metrics={name: float(value) for name, value in metrics.items() if math.isfinite(value)},
        created_at=time.time_ns() // 1000 if created_at is None else created_at,
    )
    manifest.check()
    absent = store.claim(model, manifest.chunks)
    parts = {digest: payload[start:end] for digest, start, end in digests if digest in absent}
    in_parallel([partial(store.put, model, digest, part) for digest, part in parts.items()])
    return manifest


def checkpoint_event(
    manifest: Manifest, *, signing_key: bytes | None = None, newest_label_us: int = 0
) -> events_pb2.CheckpointPublished:
    """Return the event that announces a published manifest, signed if there is a key."""
    encoded = manifest.encode()
    return events_pb2.CheckpointPublished(
        model=manifest.model,
        version=manifest.version,
        base_version=manifest.base_version,
        epoch=manifest.epoch,
        step=manifest.step,
        manifest_digest=manifest.digest,
        manifest=encoded,
        signature=sign(encoded, signing_key) if signing_key else "",
        offsets=[
            events_pb2.PartitionOffset(topic=topic, partition=partition, offset=offset)
            for topic, of in manifest.offsets.items()
            for partition, offset in of.items()
        ],
        metrics=manifest.metrics,
        created_at_us=manifest.created_at,
        newest_label_us=newest_label_us,
    )


def fetch(manifest: Manifest, store: ChunkStore) -> dict[str, torch.Tensor]:
    """Return a version's tensors in memory of their own: for tests, notebooks and offline use."""
    buffer = bytearray(manifest.size)
    pull(manifest, store, memoryview(buffer))
    return view(buffer, manifest.tensors)
