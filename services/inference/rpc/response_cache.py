"""Answers to requests seen before, kept by the digest of the version that gave them and the request's input bytes.

A swap makes every key another one, so the cache is emptied at the first request after it. For models whose predictions depend
on their inputs and weights alone.
"""

import hashlib
import sys
from collections import OrderedDict

import msgspec

from services.inference.oip.messages import InferAnswer, OutputTensor
from services.inference.rpc.jobs import Job

_ENTRY_BYTES = 600  # of an entry's objects beside its values


class ResponseCache:
    """The answers used last, at most `most` bytes of them. Its methods belong to the event loop's thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._checkpoint = ""
        self._answers: OrderedDict[bytes, tuple[InferAnswer, int]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: bytes, checkpoint: str, version: str) -> InferAnswer | None:
        """The answer to a request of this key, from the live version, if `version` asks for no other."""
        if checkpoint != self._checkpoint:
            self._checkpoint, self.size = checkpoint, 0
            self._answers.clear()
        found = self._answers.get(key)
        if found is None or (version and int(version) != found[0].version):
            return None
        self._answers.move_to_end(key)
        return found[0]

    def keep(self, key: bytes, answer: InferAnswer) -> None:
        """Keep an answer, unless its version is not the live one any more or it is larger than the cache."""
        if answer.checkpoint != self._checkpoint or key in self._answers:
            return
        outputs = [OutputTensor(t.name, t.datatype, t.shape, t.values, _raw=t.raw()) for t in answer.outputs]
        size = _ENTRY_BYTES + sum(map(_size, outputs))
        if size > self._most:
            return
        self._answers[key] = InferAnswer(answer.model, answer.version, answer.checkpoint, outputs), size
        self.size += size
        while self.size > self._most:
            self.size -= self._answers.popitem(last=False)[1][1]


def key_of(job: Job) -> bytes | None:
    """What a request is told from others by: its columns and the outputs that it wants. None where they have no bytes."""
    table, digest = job.table, hashlib.blake2b(digest_size=32)
    try:
        digest.update(msgspec.msgpack.encode((table.rows, table.layout, job.outputs)))
        for part in table.parts:
            data = msgspec.msgpack.encode(part) if isinstance(part, list) else part
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    except (TypeError, ValueError, OverflowError):
        return None
    return digest.digest()


def _size(tensor: OutputTensor) -> int:
    """Bytes in memory: each value may be an object of its own."""
    return len(tensor.raw()) + sys.getsizeof(tensor.values) + sum(map(sys.getsizeof, tensor.values))
