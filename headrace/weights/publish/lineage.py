"""The trainer's side of deltas: what the next version may be a delta against, and when it must be an anchor.

Versions form chains: an anchor, whose chunks are all in the stores, then deltas, each from the version before it. A
version is an anchor

- if it is the first that this trainer publishes: a new trainer has no payload to compare with;
- if its tensors, their layout or the chunks' size changed;
- every `anchor_every` versions;
- if its delta would have more than half the bytes of the chunks that the stores lack of it;
- if its chain would grow beyond half the payload, which bounds what a late joiner pulls to 1.5 payloads;
- if its payload has more than 8192 chunks (32 GiB): a manifest that names its anchor's too must fit a Kafka record;
- if anything that its chain needs is no longer in the stores (`headrace.weights.publish.publishing`);
- if an agent could not build the one before from what the stores hold (`Lineage.begin_anew`).
"""

import msgspec

from headrace.runtime.logging import get_logger
from headrace.weights.format.chunks import digest_of, spans
from headrace.weights.format.manifest import Delta, Link, Manifest, content_digest
from headrace.weights.format.patches import diff

log = get_logger("headrace.weights")

ANCHOR_EVERY = 32
"""Versions from anchor to anchor: with 1 % of the rows changed each time, 4.1 % of the bytes travel with anchors."""

LEAST = 1 << 20
"""Bytes that an anchor would have to write for a delta to be thought of: below, round trips count and bytes do not."""

MOST_CHUNKS = 8192


class Lineage:
    """Follows one model's versions, in the order in which one trainer publishes them. Holds one payload in memory.

    Args:
        anchor_every: a chain's versions, its anchor among them.
        least: an update whose chunks have fewer bytes travels as chunks.
    """

    def __init__(self, *, anchor_every: int = ANCHOR_EVERY, least: int = LEAST) -> None:
        self._anchor_every = anchor_every
        self._least = least
        self._last: Manifest | None = None
        self._payload: memoryview = memoryview(b"")

    def delta(self, manifest: Manifest, payload: memoryview) -> tuple[Manifest, memoryview] | None:
        """Return the version as a delta from the one published last, with the bytes of its new link.

        None for an anchor.

        Args:
            manifest: the version, without a delta.
            payload: its bytes.
        """
        last = self._last
        if last is None or not self._alike(last, manifest, payload):
            return None
        anchor, links = (last.delta.anchor, last.delta.links) if last.delta else (last.chunks, [])
        stored = set(anchor)
        cut = list(spans(manifest.size, manifest.chunk_size))
        lacking = sum(b - a for (a, b), digest in zip(cut, manifest.chunks, strict=True) if digest not in stored)
        budget = min(lacking, manifest.size - 2 * sum(link.size for link in links)) // 2
        if len(links) + 1 >= self._anchor_every or lacking < self._least:
            return None
        changed = {i for i, (old, new) in enumerate(zip(last.chunks, manifest.chunks, strict=True)) if old != new}
        patches = diff(
            manifest.tensors, self._payload, payload, chunk_size=manifest.chunk_size, changed=changed, budget=budget
        )
        if patches is None:
            return None
        chunks = [digest_of(patches[a:b]) for a, b in spans(len(patches), manifest.chunk_size)]
        link = Link(content_digest(last.chunks), len(patches), chunks)
        return _with(manifest, Delta(anchor, [*links, link])), memoryview(patches)

    def _alike(self, last: Manifest, manifest: Manifest, payload: memoryview) -> bool:
        """Whether a delta makes sense at all: a later version of the same model, laid out alike."""
        first = min((spec.start for spec in manifest.tensors), default=manifest.size)
        return (
            (last.model, last.chunk_size, last.size) == (manifest.model, manifest.chunk_size, manifest.size)
            and last.version < manifest.version
            and len(manifest.chunks) <= MOST_CHUNKS
            and last.tensors == manifest.tensors
            and self._payload[:first] == payload[:first]
        )

    def begin_anew(self) -> None:
        """Forget the chain: the next version is an anchor."""
        self._last, self._payload = None, memoryview(b"")

    def advance(self, manifest: Manifest, payload: memoryview) -> None:
        """Take note of the version that was published; its payload is kept, and must not change."""
        self._last, self._payload = manifest, payload
        if manifest.delta:
            link = manifest.delta.links[-1]
            log.info(
                "published as a delta",
                model=manifest.model,
                version=manifest.version,
                bytes=link.size,
                of=manifest.size,
                links=len(manifest.delta.links),
            )


def _with(manifest: Manifest, delta: Delta) -> Manifest:
    found = msgspec.structs.replace(manifest, delta=delta)
    found.check()
    return found
