"""The agent's side of deltas: a version built from what is here and what little travels.

Whatever way a payload came to be, its chunks are checked against the digests of its manifest, so that a version built
by deltas is the one that a full pull would have brought, bit for bit. The ways, each tried when the one before failed:

    1. from a payload of the chain that is in memory, the newest: only the links after it travel;
    2. from the anchor: its chunks, then every link;
    3. the version's own chunks, as far as the stores have them.

The last one has a chance: where nothing leads to a version, its trainer hears of it and puts its own chunks back
(`headrace.weights.publish.publishing.put_back`). A link that cannot be read rules out 2 as well, which needs it too.
Chunks that have reached the version already are never begun again: applying the chain to them gives what they are
(`headrace.weights.format.patches`).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from headrace.runtime.logging import get_logger
from headrace.weights.errors import ChainBroken, DeltaError, StoreError, StoreUnavailable, Superseded
from headrace.weights.format.chunks import digest_of, spans
from headrace.weights.format.manifest import Delta, Link, Manifest, content_digest
from headrace.weights.format.parallel import PARALLEL, in_parallel
from headrace.weights.format.patches import Patch, parse
from headrace.weights.host.present_chunks import PresentChunks
from headrace.weights.host.transfer import Pulled, pull
from headrace.weights.stores.port import ChunkStore

log = get_logger("headrace.weights")


def rebuild(
    manifest: Manifest,
    store: ChunkStore,
    buffer: memoryview,
    *,
    present: PresentChunks | None = None,
    resident: Mapping[str, memoryview] | None = None,
    payloads: Iterable[list[str]] = (),
    cancelled: Callable[[], bool] = lambda: False,
    parallel: int = PARALLEL,
) -> Pulled:
    """Fill ``buffer`` with a version's payload, every chunk verified: by its delta if it has one, else as `pull` does.

    Args:
        manifest: the version.
        store: where chunks come from.
        buffer: as of `pull`.
        present: as of `pull`; a payload of the chain that is in the buffer is built upon where it is.
        resident: as of `pull`.
        payloads: the chunks of every payload that is wholly among ``resident``.
        cancelled: as of `pull`, asked before each step too.
        parallel: chunks in flight.

    Raises:
        Superseded: ``cancelled`` said so.
        ChainBroken: no way led to the version, though every store that was asked answered; says why of each way.
        DeltaError: no way led to the version, for a store was away.
        ChunkMissing, ChunkCorrupt, StoreUnavailable: of a version without a delta.
    """
    known = present if present is not None else PresentChunks()
    known.resize(len(manifest.chunks))
    fill = partial(
        pull, store=store, buffer=buffer, present=known, resident=resident, cancelled=cancelled, parallel=parallel
    )
    if not manifest.delta or known.holds(manifest.chunks):
        return fill(manifest)
    started = time.perf_counter()
    work = _Rebuilding(manifest, manifest.delta, store, buffer, known, fill, cancelled, parallel)
    failures: dict[str, StoreError | DeltaError] = {}
    for name, first, chunks in _ways(manifest.delta, [known.snapshot(), *payloads]):
        try:
            work.attempt(first, chunks)
            break
        except _LinkLost as error:
            failures[name] = error.reason
            break
        except (StoreError, DeltaError) as error:
            failures[name] = error
    if failures:
        log.warning(
            "not built by its delta at once", model=manifest.model, version=manifest.version, why=_told(failures)
        )
    try:
        work.moved += fill(manifest).bytes_pulled
    except StoreError as error:
        raise _no_way(manifest, {**failures, "from its own chunks": error}) from error
    return Pulled(work.moved, max(0, manifest.size - work.moved), time.perf_counter() - started)


def _no_way(manifest: Manifest, failures: Mapping[str, StoreError | DeltaError]) -> DeltaError:
    """Every way failed: because the stores lack something, or may have it and are away."""
    away = any(isinstance(error, StoreUnavailable) for error in failures.values())
    what = f"{manifest.model} version {manifest.version} cannot be built; {_told(failures)}"
    if away:
        return DeltaError(what)
    return ChainBroken(
        what, hint="its trainer puts it back when it hears of it; is it running, and on the same storage?"
    )


def _told(failures: Mapping[str, StoreError | DeltaError]) -> str:
    return "; ".join(f"{name}: {error.message}" for name, error in failures.items())


class _LinkLost(Exception):  # noqa: N818 - never leaves this module
    """A link cannot be read, or is none."""

    def __init__(self, reason: StoreError | DeltaError) -> None:
        super().__init__(reason.message)
        self.reason = reason


def _ways(delta: Delta, payloads: Iterable[list[str]]) -> Iterator[tuple[str, int, list[str]]]:
    """What to begin with: its name, the first link to be applied to it, and its chunks."""
    here = {content_digest(chunks): list(chunks) for chunks in payloads if chunks and all(chunks)}
    for first in reversed(range(len(delta.links))):
        chunks = here.get(delta.links[first].base)
        if chunks is not None:
            yield f"from what is in memory, by {len(delta.links) - first} deltas", first, chunks
            break
    yield f"from the anchor, by {len(delta.links)} deltas", 0, delta.anchor


@dataclass(frozen=True)
class _Part:
    """Chunks to be pulled for a version."""

    model: str
    version: int
    size: int
    chunk_size: int
    chunks: list[str]


@dataclass
class _Rebuilding:
    """One version's way into one buffer."""

    manifest: Manifest
    delta: Delta
    store: ChunkStore
    buffer: memoryview
    known: PresentChunks
    fill: Callable[["_Part | Manifest"], Pulled]
    cancelled: Callable[[], bool]
    parallel: int
    moved: int = 0

    def attempt(self, first: int, chunks: list[str]) -> None:
        """Build the version from a payload by the links from ``first`` on.

        Raises:
            _LinkLost: see there.
            StoreError: a chunk of the payload cannot be had.
            DeltaError: what came out is not the version.
        """
        # 1. The first link, before a payload is copied in vain.
        links = self.delta.links[first:]
        patches = self._read(links[0])
        # 2. The payload to begin with, but where the version's own chunks are in place already.
        target, here = self.manifest.chunks, self.known.snapshot()
        begin = [new if at == new else old for at, old, new in zip(here, chunks, target, strict=True)]
        self.moved += self.fill(self._part(self.manifest.size, begin)).bytes_pulled
        # 3. Every link in turn.
        self._apply(patches)
        for link in links[1:]:
            self._apply(self._read(link))
        # 4. What came out.
        self._verify()

    def _read(self, link: Link) -> list[Patch]:
        part, data = self._part(link.size, link.chunks), memoryview(bytearray(link.size))
        try:
            self.moved += pull(part, self.store, data, cancelled=self.cancelled, parallel=self.parallel).bytes_pulled
            return parse(data, self.manifest.tensors)
        except (StoreError, DeltaError) as error:
            raise _LinkLost(error) from error

    def _apply(self, patches: list[Patch]) -> None:
        self._go_on()
        for patch in patches:
            # Unknown before it is written, so that whatever ends this leaves nothing that passes for what it is not.
            for chunk in patch.touched(self.manifest.chunk_size):
                self.known.forget(chunk)
            patch.write(self.buffer)

    def _verify(self) -> None:
        target = self.manifest.chunks
        cut = list(spans(self.manifest.size, self.manifest.chunk_size))
        open_ = self.known.missing(target)

        def some(share: list[int]) -> None:
            for i in share:
                self._go_on()
                found = digest_of(self.buffer[slice(*cut[i])])
                self.known.mark(i, found if found == target[i] else "")

        in_parallel(
            [partial(some, open_[i :: self.parallel]) for i in range(min(self.parallel, len(open_)))], self.parallel
        )
        wrong = len(self.known.missing(target))
        if wrong:
            raise DeltaError(f"{wrong} of {len(target)} chunks came out with other digests than the manifest's")

    def _part(self, size: int, chunks: list[str]) -> _Part:
        return _Part(self.manifest.model, self.manifest.version, size, self.manifest.chunk_size, chunks)

    def _go_on(self) -> None:
        if self.cancelled():
            raise Superseded(
                f"building {self.manifest.model} version {self.manifest.version} was given up for a newer version"
            )
