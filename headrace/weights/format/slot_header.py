"""How a slot in shared memory begins: one page that says what the payload after it is.

The agent writes it, workers read it.
"""

import mmap
import struct

PAYLOAD_START = mmap.PAGESIZE
_HEADER = struct.Struct("<8sIQ32s")
_MAGIC = b"HRSLOT1\0"
_OPEN, _SEALED = 0, 1


class SlotHeader:
    """The first page of a slot, read and written through any buffer that maps it."""

    @staticmethod
    def write(buffer: memoryview, size: int, digest: str, *, sealed: bool) -> None:
        """Write the header."""
        _HEADER.pack_into(buffer, 0, _MAGIC, _SEALED if sealed else _OPEN, size, digest.encode())

    @staticmethod
    def read(buffer: memoryview | mmap.mmap) -> tuple[str, bool]:
        """Return the digest of the version that the slot holds or was to hold, "" if none, and whether it is sealed."""
        magic, state, _, digest = _HEADER.unpack_from(buffer, 0)
        return (digest.decode(), state == _SEALED) if magic == _MAGIC else ("", False)

    @staticmethod
    def size(buffer: memoryview | mmap.mmap) -> int:
        """Return the payload's bytes, 0 where there is none."""
        magic, _, size, _ = _HEADER.unpack_from(buffer, 0)
        return int(size) if magic == _MAGIC else 0

    @staticmethod
    def sealed_digest(buffer: memoryview | mmap.mmap) -> str:
        """Return the digest of the version that the slot wholly holds, or "" if it holds none."""
        digest, sealed = SlotHeader.read(buffer)
        return digest if sealed else ""
