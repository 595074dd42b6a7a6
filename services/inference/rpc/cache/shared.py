"""Answers that several processes keep together: a table in shared memory that any of them reads and writes.

An entry is a checksum, the key and the answer. The key names the model, the weights' checkpoint and the request's
inputs, so an entry is right for as long as it is there, whatever is swapped meanwhile in whichever process.

- Entries are written one behind the other, round and round; those that were kept first are overwritten first. Places in
  an index, some for each key, say where an entry is.
- One process writes at a time, under a file lock, which the kernel takes from a process that dies. One that finds it
  taken keeps nothing: it is a cache.
- Reading takes no lock. An entry that is overwritten while it is read, or was cut off by a process that died, has
  another checksum or another key, and is none.
"""

import fcntl
import hashlib
import mmap
import os
import struct
from pathlib import Path

import msgspec
import xxhash

from headrace.contracts.oip import tensors
from services.inference.oip.messages import InferAnswer, OutputTensor

_KEY, _SUM = 32, 16
_PLACE = struct.Struct("<QII")  # where an entry is, its bytes, and the start of its key; no bytes: none
_WAYS = 4
_MEAN_ENTRY = 256  # bytes, by which the index's size is chosen
_HEAD = struct.Struct("<Q")  # where the next entry goes
_PAGE = 4096
_LARGEST = 1 << 20

LEAST = 1 << 16
"""Bytes that a table has at least."""


class SharedTable:
    """A table of bytes by keys of 32 bytes, in a file of shared memory, which is the same for all who open it.

    Args:
        path: the file, which has its size already and was all zeros at first.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # one of its own: file locks are between open files
        self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size)
        places = max(_WAYS, len(self._map) // _MEAN_ENTRY // 2)
        self._sets = 1 << (places // _WAYS).bit_length() - 1
        self._start = -(-(_PAGE + self._sets * _WAYS * _PLACE.size) // _PAGE) * _PAGE
        self._room = len(self._map) - self._start

    def close(self) -> None:
        """Unmap and close."""
        self._map.close()
        os.close(self._fd)

    def find(self, key: bytes) -> bytes | None:
        """The value that was kept under a key, if it is still there, whole."""
        mark = int.from_bytes(key[:4], "little")
        index = self._set(key)
        for way in range(_WAYS):
            at, size, start = _PLACE.unpack_from(self._map, index + way * _PLACE.size)
            if start != mark or not _SUM + _KEY <= size <= self._room or at > self._room - size:
                continue
            entry = self._map[self._start + at : self._start + at + size]
            if entry[_SUM : _SUM + _KEY] == key and xxhash.xxh3_128_digest(entry[_SUM:]) == entry[:_SUM]:
                return entry[_SUM + _KEY :]
        return None

    def keep(self, key: bytes, value: bytes) -> bool:
        """Keep a value; False where it is too large, or another process writes."""
        size = _SUM + _KEY + len(value)
        if size > min(self._room // 4, _LARGEST):
            return False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            self._write(key, size, value)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True

    def _write(self, key: bytes, size: int, value: bytes) -> None:
        (at,) = _HEAD.unpack_from(self._map, 0)
        if at > self._room - size:
            at = 0
        _HEAD.pack_into(self._map, 0, at + size)
        body = key + value
        self._map[self._start + at : self._start + at + size] = xxhash.xxh3_128_digest(body) + body
        _PLACE.pack_into(self._map, self._place_for(key, at), at, size, int.from_bytes(key[:4], "little"))

    def _place_for(self, key: bytes, head: int) -> int:
        """The place of this key's set that has this key, or is free, or whose entry is overwritten first."""
        mark, index = int.from_bytes(key[:4], "little"), self._set(key)
        oldest, place = -1, index
        for way in range(_WAYS):
            here = index + way * _PLACE.size
            at, size, start = _PLACE.unpack_from(self._map, here)
            if start == mark or not size:
                return here
            age = (head - at) % self._room
            if age > oldest:
                oldest, place = age, here
        return place

    def _set(self, key: bytes) -> int:
        return _PAGE + int.from_bytes(key[4:12], "little") % self._sets * _WAYS * _PLACE.size


class SharedResponses:
    """As `services.inference.rpc.cache.responses.ResponseCache`, of one model, in a table that others use, too."""

    def __init__(self, table: SharedTable, model: str) -> None:
        self._table, self._model = table, model.encode()

    def find(self, key: bytes, checkpoint: str, version: int) -> InferAnswer | None:
        """The answer to a request of this key from the weights of `checkpoint`, if `version` asks for no other."""
        found = self._table.find(self._full(key, checkpoint))
        if found is None:
            return None
        number, outputs = _DECODE(found)
        if version and number != version:
            return None
        return InferAnswer(self._model.decode(), number, checkpoint, [_tensor(*output) for output in outputs])

    def keep(self, key: bytes, answer: InferAnswer) -> None:
        """Keep an answer, if there is room for it."""
        outputs = [(t.name, t.datatype, t.shape, t.raw()) for t in answer.outputs]
        self._table.keep(self._full(key, answer.checkpoint), _ENCODE((answer.version, outputs)))

    def _full(self, key: bytes, checkpoint: str) -> bytes:
        named = b"%d %s %s" % (len(self._model), self._model, checkpoint.encode())
        return hashlib.blake2b(key + named, digest_size=_KEY).digest()


_Output = tuple[str, str, list[int], bytes]
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[int, list[_Output]]).decode


def _tensor(name: str, datatype: str, shape: list[int], raw: bytes) -> OutputTensor:
    values = tensors.decode(datatype, tensors.element_count(shape), raw)
    return OutputTensor(name, datatype, shape, values, _raw=raw)
