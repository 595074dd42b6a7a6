"""System shared memory: inputs that a client on the same host has put into a region, and outputs that it wants there.

A region is a part of a file in /dev/shm that a client has registered by name. Requests are never trusted about it:

- A key names a file directly in /dev/shm. No other path and no symbolic link is followed. (Slots of weights are in
  folders.)
- Each request's bytes are checked against its region, and read and written by `pread` and `pwrite`. Through a mapping,
  a client that shortens its file would end this process by SIGBUS; this way it gets an error. What was read is the
  request's own, whatever the client writes later.
- A request keeps its regions until it is answered: unregistering one meanwhile closes it afterwards.
"""

import os
import stat
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.inference.oip.messages import (
    AlreadyExists,
    InferAnswer,
    InvalidRequest,
    OutputPlace,
    OutputTensor,
    Unsupported,
)

ROOT = Path("/dev/shm")  # noqa: S108 - shared memory is the point
REGION, SIZE, OFFSET = "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"

NO_CUDA = "CUDA shared memory is not supported: use system shared memory, or send the data in the request"

_MOST_NAME = 255  # bytes
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Region:
    """A registered part of a file. It is closed when nothing refers to it any more."""

    def __init__(self, name: str, key: str, offset: int, size: int, file: int) -> None:
        self.name, self.key, self.offset, self.size = name, key, offset, size
        self._file = file
        weakref.finalize(self, os.close, file)

    def place(self, what: str, offset: int, size: int) -> "Place":
        """A part of the region.

        Raises:
            InvalidRequest: it is not inside the region.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise InvalidRequest(
                f"{what}: {size} bytes at offset {offset} of shared memory region '{self.name}', "
                f"which has {self.size} bytes"
            )
        return Place(self, offset, size)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the region; fewer where its file has become shorter."""
        parts, at, end = [], self.offset + offset, self.offset + offset + size
        while at < end and (part := os.pread(self._file, end - at, at)):
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> bool:
        """Write bytes into the region; False where its file has become too short."""
        at, left = self.offset + offset, memoryview(data)
        if os.fstat(self._file).st_size < at + len(left):
            return False
        while left:
            written = os.pwrite(self._file, left, at)
            at, left = at + written, left[written:]
        return True


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a region that one tensor of a request is in, or goes to. It is inside the region."""

    region: Region
    offset: int
    size: int

    def read(self, what: str) -> bytes:
        """Its bytes.

        Raises:
            InvalidRequest: the file has become shorter than the region, or cannot be read.
        """
        try:
            data = self.region.read(self.offset, self.size)
        except (OSError, MemoryError) as error:
            raise InvalidRequest(f"{what}: {self._failed(error)}") from error
        if len(data) < self.size:
            raise InvalidRequest(f"{what}: {self._short()}")
        return data

    def write(self, tensor: OutputTensor) -> OutputTensor:
        """Put an output's bytes there; return the output that says where they are.

        Raises:
            InvalidRequest: the file has become shorter than the region, or cannot be written, as where /dev/shm is
            full.
        """
        data = tensor.raw()
        try:
            fits = self.region.write(self.offset, data)
        except OSError as error:
            raise InvalidRequest(f"output '{tensor.name}': {self._failed(error)}") from error
        if not fits:
            raise InvalidRequest(f"output '{tensor.name}': {self._short()}")
        placed: dict[str, str | int] = {REGION: self.region.name, SIZE: len(data)}
        if self.offset:
            placed[OFFSET] = self.offset
        return OutputTensor(tensor.name, tensor.datatype, tensor.shape, [], placed=placed)

    def _failed(self, error: Exception) -> str:
        return f"shared memory region '{self.region.name}', key '{self.region.key}': {error}"

    def _short(self) -> str:
        return f"the file of shared memory region '{self.region.name}', key '{self.region.key}', has become shorter"


class Regions:
    """The registered regions, by name.

    Args:
        most: how many there may be; 0 switches shared memory off.
        root: the folder of the files.
    """

    def __init__(self, most: int = 0, *, root: Path = ROOT) -> None:
        self._most, self._root = most, root
        self._regions: dict[str, Region] = {}

    @property
    def on(self) -> bool:
        """Whether shared memory is served."""
        return self._most > 0

    def register(self, name: str, key: Any, offset: Any, size: Any) -> None:
        """Open a region: `size` bytes from `offset` on of the file that `key` names.

        Raises:
            Unsupported: shared memory is switched off.
            AlreadyExists: there is a region of this name.
            InvalidRequest: there are too many, or the file or its size is not as said.
        """
        self._check_on()
        what = f"failed to register shared memory region '{name}'"
        if not name:
            raise InvalidRequest(f"{what}: it has no name")
        if name in self._regions:
            raise AlreadyExists(f"shared memory region '{name}' already in manager")
        if len(self._regions) >= self._most:
            raise InvalidRequest(f"{what}: there are {self._most} regions already, which is the most")
        if not _natural(offset) or not _natural(size) or size == 0:
            raise InvalidRequest(
                f"{what}: offset {offset!r} and byte_size {size!r} must be integers of 0 and 1 or more"
            )
        file = self._open(what, _file_name(what, key), key)
        length = os.fstat(file).st_size
        if offset + size > length:
            os.close(file)
            raise InvalidRequest(f"{what}: {size} bytes at offset {offset} of key '{key}', which has {length} bytes")
        self._regions[name] = Region(name, key, offset, size, file)

    def _open(self, what: str, file_name: str, key: str) -> int:
        try:
            file = os.open(self._root / file_name, _FLAGS)
        except OSError as error:
            raise InvalidRequest(f"{what}: unable to open key '{key}': {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise InvalidRequest(f"{what}: key '{key}' is not a shared memory object")
        return file

    def unregister(self, name: str = "") -> None:
        """Forget a region, or all; nothing happens where there is none. Requests in hand that use it go on."""
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """A RegionStatus of a region, or of all.

        Raises:
            InvalidRequest: there is no such region.
        """
        found = [self._named(name)] if name else list(self._regions.values())
        return [{"name": r.name, "key": r.key, "offset": r.offset, "byte_size": r.size} for r in found]

    def place(self, what: str, parameters: Mapping[str, Any]) -> Place | None:
        """Where the parameters of an input or output say that its bytes are; None where they name no region.

        Raises:
            Unsupported: shared memory is switched off.
            InvalidRequest: there is no such region, or the bytes are not inside it.
        """
        name = parameters.get(REGION)
        if name is None:
            return None
        self._check_on()
        size, offset = parameters.get(SIZE, -1), parameters.get(OFFSET, 0)
        if not isinstance(name, str):
            raise InvalidRequest(f"{what}: parameter '{REGION}' must be a string")
        if not _natural(size) or not _natural(offset):
            raise InvalidRequest(f"{what}: parameters '{SIZE}' and '{OFFSET}' must be integers of 0 or more")
        return self._named(name, what).place(what, offset, size)

    def _named(self, name: str, what: str = "") -> Region:
        region = self._regions.get(name)
        if region is None:
            prefix = f"{what}: " if what else ""
            raise InvalidRequest(f"{prefix}Unable to find shared memory region: '{name}'")
        return region

    def _check_on(self) -> None:
        if not self.on:
            raise Unsupported(
                "shared memory is not supported: send the data in the request (--shared-memory-regions is 0)"
            )


OFF = Regions()


def deposit(answer: InferAnswer, places: Mapping[str, OutputPlace]) -> InferAnswer:
    """Write an answer's outputs to their places; none where one has too little room.

    Raises:
        InvalidRequest: an output is larger than its place. Or its file cannot be written: then outputs before it are.
    """
    for tensor in answer.outputs:
        if (place := places.get(tensor.name)) is not None and len(tensor.raw()) > place.size:
            raise InvalidRequest(
                f"shared memory size specified with the request for output '{tensor.name}' ({place.size} bytes) "
                f"should be at least {len(tensor.raw())} bytes to hold the results"
            )
    outputs = [place.write(t) if (place := places.get(t.name)) is not None else t for t in answer.outputs]
    return InferAnswer(answer.model, answer.version, answer.checkpoint, outputs, answer.id)


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _file_name(what: str, key: Any) -> str:
    """The name in /dev/shm that a key is, as shm_open takes it: with or without one slash in front."""
    name = key.removeprefix("/") if isinstance(key, str) else ""
    bad = not name or name in (".", "..") or "/" in name or "\0" in name or not name.isprintable()
    if bad or len(name.encode(errors="replace")) > _MOST_NAME:
        raise InvalidRequest(f"{what}: key {key!r} is not a name in /dev/shm, such as '/inputs'")
    return name
