"""The agent's side of shared memory: a bounded pool of recycled files under /dev/shm.

Touching fresh memory is twenty times slower than writing memory touched before, so a slot is kept and written again
when its version is no longer wanted. Who may do what is settled by file locks, which the kernel releases when a process
dies:

- `<pool>/owner` is locked exclusively by the agent that owns the pool; a pool whose owner lock is free is a dead
  agent's.
- A worker holds a shared lock on a slot for as long as it maps it (`headrace.weights.worker.mapping`). The agent writes
  a slot only under an exclusive lock, so a mapped slot is never written: not by this agent, not by its successor.

A slot is one page of header (magic, sealed or not, payload size, manifest digest), then the payload. A worker that gets
its lock reads the digest again: a slot that was recycled between being offered and being locked is recognized and left
alone.
"""

import contextlib
import fcntl
import mmap
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from headrace.runtime.logging import get_logger
from headrace.weights.errors import SlotError, SlotsBusy
from headrace.weights.format.chunks import digest_of, spans
from headrace.weights.format.manifest import Manifest, content_digest
from headrace.weights.format.slot_header import PAYLOAD_START, SlotHeader
from headrace.weights.host.present_chunks import PresentChunks

log = get_logger("headrace.weights")

SHM_ROOT = Path("/dev/shm")  # noqa: S108 - shared memory is the point
_PREFIX = "headrace-"


class Slot:
    """One file of the pool, opened by its owner. Made by `SlotPool` only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = ""
        """The sealed version's manifest digest, "" while there is none."""
        self.unfinished = ""
        """The version that was being written when the writer, perhaps an agent before this one, gave up."""
        self.chunks = PresentChunks()
        """The chunks known to be in place; `headrace.weights.host.transfer.pull` keeps it."""
        self._chunk_size = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._map: mmap.mmap | None = None
        self.capacity = max(0, os.fstat(self._fd).st_size - PAYLOAD_START)
        if self.capacity:
            self._map = mmap.mmap(self._fd, PAYLOAD_START + self.capacity)
            digest, sealed = SlotHeader.read(self._map)
            self.digest, self.unfinished = (digest, "") if sealed else ("", digest)

    def resident(self, chunk_size: int) -> dict[str, memoryview]:
        """Return the chunks that the slot is known to hold, by digest: for copying, and to be verified after it.

        Of a version adopted from an agent before, only the bytes are known: they are cut and digested once (16 GB/s).
        """
        if self._map is None:
            return {}
        payload = self.payload
        size = len(payload)
        if self.digest and not len(self.chunks):
            self.chunks = PresentChunks.of(payload, spans(size, chunk_size), digest_of)
            self._chunk_size = chunk_size
        if self._chunk_size != chunk_size:
            return {}
        pairs = zip(self.chunks.snapshot(), spans(size, chunk_size), strict=False)
        return {digest: payload[a:b] for digest, (a, b) in pairs if digest}

    @property
    def payload(self) -> memoryview:
        """The bytes of the version that the slot holds, or was to hold; none where there was no version yet."""
        if self._map is None:
            return memoryview(b"")
        return memoryview(self._map)[PAYLOAD_START : PAYLOAD_START + SlotHeader.size(self._map)]

    def try_lock(self) -> bool:
        """Take the exclusive lock; False while any worker maps the slot."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def begin(self, manifest: Manifest, digest: str) -> memoryview:
        """Open the slot for writing a version, its lock being held, and return the payload's buffer.

        Afterwards `chunks` says what of it is in place already.

        Raises:
            SlotError: there is no shared memory left.
        """
        if manifest.size > self.capacity or self._map is None:
            self._grow(manifest.size)
        view = memoryview(self._map)  # type: ignore[arg-type]  # _grow made it
        payload = view[PAYLOAD_START : PAYLOAD_START + manifest.size]
        if self.unfinished == digest and not len(self.chunks):
            self.chunks = PresentChunks.of(payload, spans(manifest.size, manifest.chunk_size), digest_of)
        elif self._chunk_size != manifest.chunk_size:
            self.chunks = PresentChunks()
        self._chunk_size, self.digest, self.unfinished = manifest.chunk_size, "", digest
        SlotHeader.write(view, manifest.size, digest, sealed=False)
        return payload

    def seal(self, manifest: Manifest, digest: str) -> None:
        """Declare the payload whole and verified, and give up the lock: workers may map it."""
        if self._map is not None:
            SlotHeader.write(memoryview(self._map), manifest.size, digest, sealed=True)
        self.digest, self.unfinished = digest, ""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def abandon(self) -> None:
        """Give up the lock, the payload being unfinished; what is in place stays known."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Unmap and close; the file stays."""
        self._map = None  # unmapped with the last view over it
        os.close(self._fd)

    def _grow(self, size: int) -> None:
        total = -(-(PAYLOAD_START + size) // mmap.PAGESIZE) * mmap.PAGESIZE
        try:
            # Allocates and touches the pages now: a full /dev/shm is an error here, and not a SIGBUS later.
            os.posix_fallocate(self._fd, 0, total)
            self._map = mmap.mmap(self._fd, total)
        except OSError as error:
            raise SlotError(
                f"no shared memory for {size} bytes in {self.path}: {error.strerror}",
                hint="Make /dev/shm larger (docker run --shm-size), or serve fewer models on this host.",
            ) from error
        self.capacity = total - PAYLOAD_START


class SlotPool:
    """At most ``limit`` slots of one agent; it may be changed.

    Not thread-safe: one thread acquires and releases; the buffer may be filled by others.
    """

    def __init__(self, name: str, *, limit: int = 4, root: Path = SHM_ROOT) -> None:
        self.folder = root / f"{_PREFIX}{os.getuid()}-{name}"
        self.limit = limit
        with _making_files_in(self.folder):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._owner = _own(self.folder)
        if self._owner is None:
            raise SlotError(
                f"the slots in {self.folder} belong to an agent that is running",
                hint="One agent per run and host: stop the other, or give this one another run_dir.",
            )
        remove_stale_pools(root)
        self._slots = [Slot(path) for path in sorted(self.folder.glob("slot-*"))]

    @property
    def memory(self) -> int:
        """Bytes of shared memory that the pool holds."""
        return sum(slot.capacity + PAYLOAD_START for slot in self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, digest: str) -> Slot | None:
        """Return the slot that holds a version whole, if any does."""
        return next((slot for slot in self._slots if slot.digest == digest), None)

    def resident(self, chunk_size: int, *, but: Slot) -> dict[str, memoryview]:
        """Return the chunks that the slots hold, by digest, except those of ``but``, which is to be written.

        The views are into the slots' memory, which only the caller's thread writes: they are good until it begins the
        next slot, and no worker can have changed what they show (`headrace.weights.worker.mapping`).
        """
        found: dict[str, memoryview] = {}
        for slot in self._slots:
            if slot is not but:
                found.update(slot.resident(chunk_size))
        return found

    def contents(self, *, but: Slot) -> list[list[str]]:
        """Return the chunks of every version that is here whole, by slot, except ``but``.

        To be called after `resident`.
        """
        return [slot.chunks.snapshot() for slot in self._slots if slot is not but and slot.digest]

    def acquire(self, size: int, keep: Collection[str] = (), digest: str = "", spare: Collection[str] = ()) -> Slot:
        """Return a slot, locked for writing, that will hold ``size`` bytes.

        Args:
            size: bytes of the payload.
            keep: digests of versions that must stay.
            digest: the version to be written; a slot in which it was begun before is preferred.
            spare: `content_digest` of payloads that the version could be built from: their slots are taken last.

        Raises:
            SlotsBusy: every slot is kept or mapped by a worker, and there are as many as allowed.
            SlotError: there can be no file more in shared memory.
        """
        free = [slot for slot in self._slots if not (slot.digest and slot.digest in keep)]

        def fitness(slot: Slot) -> tuple[bool, bool, bool, int]:
            begun, useful = (
                bool(digest) and slot.unfinished == digest,
                bool(spare) and content_digest(slot.chunks.snapshot()) in spare,
            )
            return not begun, useful, slot.capacity < size, abs(slot.capacity - size)

        for slot in sorted(free, key=fitness):
            if slot.try_lock():
                return slot
        if len(self._slots) >= self.limit:
            raise SlotsBusy(
                f"all {self.limit} slots in {self.folder} are kept or mapped by workers",
                hint="A worker holds on to an old version: is a request of it stuck?",
            )
        taken = {slot.path.name for slot in self._slots}
        path = next(self.folder / f"slot-{i}" for i in range(self.limit) if f"slot-{i}" not in taken)
        with _making_files_in(self.folder):
            slot = Slot(path)
        self._slots.append(slot)
        if not slot.try_lock():
            raise SlotError(f"slot {path} is new and already locked")
        return slot

    def close(self) -> None:
        """Remove every slot. A worker that maps one keeps its memory until it lets go."""
        for slot in self._slots:
            slot.path.unlink(missing_ok=True)
            slot.close()
        self._slots.clear()
        _remove(self.folder)
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None


def remove_stale_pools(root: Path = SHM_ROOT) -> list[Path]:
    """Remove this user's pools whose agents are dead, and return their folders."""
    removed = []
    for folder in root.glob(f"{_PREFIX}{os.getuid()}-*"):
        owner = _own(folder)
        if owner is None:
            continue
        _remove(folder)
        os.close(owner)
        removed.append(folder)
        log.info("removed the shared memory of a dead agent", folder=str(folder))
    return removed


@contextlib.contextmanager
def _making_files_in(folder: Path) -> Iterator[None]:
    """Name what the kernel refuses: one version then fails, and not the agent."""
    try:
        yield
    except OSError as error:
        raise SlotError(
            f"cannot make slots in {folder}: {error.strerror}",
            hint="Is /dev/shm writable, and not full of other files?",
        ) from error


def _own(folder: Path) -> int | None:
    """Lock a pool's owner file; None if another process has it, or the folder is going away."""
    path = folder / "owner"
    try:
        owner = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(owner).st_ino:  # else somebody removed it between open and lock
            return owner
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(owner)
    return None


def _remove(folder: Path) -> None:
    for path in folder.glob("slot-*"):
        path.unlink(missing_ok=True)
    (folder / "owner").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a successor has begun to use it
        folder.rmdir()
