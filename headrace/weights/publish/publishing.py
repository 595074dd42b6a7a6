"""The trainer's side: a version's tensors into a store, and the event that announces them."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import torch

from headrace.contracts import events_pb2
from headrace.runtime.logging import get_logger
from headrace.weights.errors import ChunkCorrupt, ChunkMissing
from headrace.weights.format.chunks import CHUNK_SIZE, digest_of, spans
from headrace.weights.format.facts import VersionFacts
from headrace.weights.format.manifest import Manifest, sign
from headrace.weights.format.parallel import in_parallel
from headrace.weights.format.payload import dump
from headrace.weights.publish.lineage import Lineage
from headrace.weights.stores.port import ChunkStore, FallbackStore

log = get_logger("headrace.weights")


def publish_version(
    state_dict: Mapping[str, torch.Tensor],
    facts: VersionFacts,
    *,
    store: ChunkStore,
    chunk_size: int = CHUNK_SIZE,
    lineage: Lineage | None = None,
) -> Manifest:
    """Put a version's chunks into ``store`` and return its manifest, to be sent as `checkpoint_event(manifest)`.

    Only chunks that the store lacks are written, so that publishing again after a crash costs little. The event must
    follow within the stores' grace period (ten minutes), or the chunks may be swept.

    Args:
        state_dict: the network's tensors, on any device.
        facts: the version.
        store: where the chunks go.
        chunk_size: bytes a chunk.
        lineage: what the model's versions before were; with it, a version whose update is sparse is published as a
            delta.

    Raises:
        StoreUnavailable: a chunk could not be written durably.
    """
    payload = memoryview(dump(state_dict))
    manifest = facts.manifest(payload, chunk_size)
    delta = lineage.delta(manifest, payload) if lineage else None
    if delta is not None and _put_delta(*delta, store):
        manifest = delta[0]
    else:
        _put(
            manifest,
            _parts(payload, manifest.chunks, chunk_size),
            store.claim(manifest.model, manifest.chunks),
            store,
        )
    if lineage is not None:
        lineage.advance(manifest, payload)
    return manifest


def _put_delta(manifest: Manifest, patches: memoryview, store: ChunkStore) -> bool:
    """Put a version's new link.

    False, nothing being written, if anything before it in its chain is not in the stores.
    """
    if not manifest.delta:
        return False
    *before, link = manifest.delta.links
    base = {*manifest.delta.anchor, *(chunk for one in before for chunk in one.chunks)}
    absent = store.claim(manifest.model, base.union(link.chunks))
    lost = absent & base
    if lost and isinstance(store, FallbackStore):
        lost = store.lost(manifest.model, lost)
    if lost:
        log.warning(
            "published as an anchor: its chain has left the stores",
            model=manifest.model,
            version=manifest.version,
            lost=len(lost),
        )
        return False
    _put(manifest, _parts(patches, link.chunks, manifest.chunk_size), absent, store)
    return True


def put_back(
    state_dict: Mapping[str, torch.Tensor], *, model: str, store: ChunkStore, chunk_size: int = CHUNK_SIZE
) -> int:
    """Put a published version's own chunks into ``store`` as far as they are missing or corrupt there.

    Return how many were.

    Agents take a version that way when its chain is broken. Of a version published as a delta, no manifest refers to
    them: they stay for the stores' grace period, by which its successor, an anchor, has them too or whoever lacks them
    says so again.

    Raises:
        StoreUnavailable: a chunk could not be read or written.
    """
    payload = memoryview(dump(state_dict))
    chunks = [digest_of(payload[start:end]) for start, end in spans(len(payload), chunk_size)]
    parts = _parts(payload, chunks, chunk_size)
    absent = store.claim(model, parts.keys())
    lost = absent | {digest for digest in parts.keys() - absent if not _whole(model, digest, len(parts[digest]), store)}
    in_parallel([partial(store.put, model, digest, parts[digest]) for digest in lost])
    return len(lost)


def _whole(model: str, digest: str, size: int, store: ChunkStore) -> bool:
    try:
        store.get_into(model, digest, memoryview(bytearray(size)))
    except (ChunkMissing, ChunkCorrupt):
        return False
    return True


def _parts(data: memoryview, chunks: list[str], chunk_size: int) -> dict[str, memoryview]:
    return {digest: data[start:end] for digest, (start, end) in zip(chunks, spans(len(data), chunk_size), strict=True)}


def _put(manifest: Manifest, parts: dict[str, memoryview], absent: set[str], store: ChunkStore) -> None:
    in_parallel(
        [partial(store.put, manifest.model, digest, part) for digest, part in parts.items() if digest in absent]
    )


def checkpoint_event(
    manifest: Manifest,
    *,
    signing_key: bytes | None = None,
    newest_label_us: int = 0,
    origin: Mapping[str, str] = MappingProxyType({}),
    held: bool = False,
) -> events_pb2.CheckpointPublished:
    """Return the event that announces a published manifest, signed if there is a key.

    `held`: nobody serves it, or a later version, until an operator says so.
    """
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
        origin=origin,
        held=held,
    )
