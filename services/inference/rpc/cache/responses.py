"""Answers to requests seen before, kept by the digest of the version that gave them and the request's input bytes.

A swap makes every key another one, so the cache is emptied at the first request after it. For models whose predictions
depend on their inputs and weights alone.
"""

import asyncio
import hashlib
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import msgspec

from headrace.weights.errors import NotReady
from headrace.weights.worker.source import WeightsSource
from services.inference.oip.messages import InferAnswer, OipError, OutputTensor
from services.inference.rpc import timing
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.statistics import Statistics

Deliver = Callable[[Outcome], None]

_ENTRY_BYTES = 600  # of an entry's objects beside its values


class Cache(Protocol):
    """Keeps answers. Its methods belong to the event loop's thread."""

    def find(self, key: bytes, checkpoint: str, version: int) -> InferAnswer | None:
        """The answer to a request of this key from the weights of `checkpoint`, which are live.

        None, too, where `version` asks for another.
        """
        ...

    def keep(self, key: bytes, answer: InferAnswer) -> None:
        """Keep an answer, where that is possible."""
        ...


class ResponseCache:
    """The answers used last, at most `most` bytes of them. Its methods belong to the event loop's thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._checkpoint = ""
        self._answers: OrderedDict[bytes, tuple[InferAnswer, int]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: bytes, checkpoint: str, version: int) -> InferAnswer | None:
        """The answer to a request of this key, from the live version, if `version` asks for no other."""
        if checkpoint != self._checkpoint:
            self._checkpoint, self.size = checkpoint, 0
            self._answers.clear()
        found = self._answers.get(key)
        if found is None or (version and version != found[0].version):
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


class CachedAnswers:
    """Answers requests from a cache, and has the others executed and their answers kept.

    Args:
        cache: the answers.
        weights: say which version is live.
        statistics: count hits and misses.
        execute: has a request executed; shows its outcome to a third argument before it delivers it.
    """

    def __init__(
        self,
        cache: Cache,
        weights: WeightsSource,
        statistics: Statistics,
        execute: Callable[[Job, Deliver, Deliver | None], Job],
    ) -> None:
        self._cache, self._weights, self._statistics, self._execute = cache, weights, statistics, execute

    def __call__(self, job: Job, deliver: Deliver) -> Job:
        """Have a request answered: `deliver` is called once, later.

        Raises:
            OipError: the request is refused; then `deliver` is not called.
        """
        started = time.perf_counter_ns()
        key = key_of(job)
        found = None if key is None else self._find(key, job.version)
        took = time.perf_counter_ns() - started
        if found is None:
            return self._execute(job, deliver, None if key is None else self._keeper(key, took))
        job.deliver = self._hit(job, took, deliver)
        asyncio.get_running_loop().call_soon(_deliver, job, found)
        return job

    def _find(self, key: bytes, version: int) -> InferAnswer | None:
        try:
            with self._weights.lease() as bound:
                return self._cache.find(key, bound.checkpoint, version)
        except NotReady:
            return None

    def _keeper(self, key: bytes, took: int) -> Deliver:
        def keep(outcome: Outcome) -> None:
            if not isinstance(outcome, OipError):
                started = time.perf_counter_ns()
                self._cache.keep(key, outcome)
                self._statistics.cache_miss.add(took + time.perf_counter_ns() - started)

        return keep

    def _hit(self, job: Job, took: int, deliver: Deliver) -> Deliver:
        def counted(outcome: Outcome) -> None:
            outcome = job.deposited(outcome)
            total = time.perf_counter_ns() - job.arrived
            if isinstance(outcome, OipError):
                self._statistics.failed(total)
            else:
                self._statistics.found(total, took, job.table.rows)
                if job.timing:
                    outcome.parameters = timing.found(total, took)
            deliver(outcome)

        return counted


def _deliver(job: Job, found: InferAnswer) -> None:
    deliver, job.deliver = job.deliver, _delivered
    if not job.cancelled:
        deliver(InferAnswer(found.model, found.version, found.checkpoint, found.outputs, job.id))


def _delivered(_: Outcome) -> None:
    """Once is enough."""


def key_of(job: Job) -> bytes | None:
    """What a request is told from others by: its columns and the outputs that it wants.

    None where they have no bytes.
    """
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
