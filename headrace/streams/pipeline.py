"""The pipeline from chunks to committed output: the next batch is worked out while the last one's transaction commits.

    consumer ─ rounds ─▶ agent ─ submit ─▶ pending ─▶ process (one thread) ─▶ deliver (another thread)

A round is a chunk of each partition that has records, and becomes one batch, one forward pass and one transaction. Its
size is
not set but found: while a transaction commits, records wait in the consumer's buffer, and the next round takes them
all. With little traffic (fewer than `overlap_records` waiting) a round starts only when the pipeline is idle, which
gives the lowest latency; with a backlog it starts at once, which keeps both threads busy.
"""

import asyncio
from collections.abc import Callable, Sequence

from headrace.runtime.errors import DependencyError, HeadraceError
from headrace.runtime.logging import get_logger
from headrace.streams.chunks import Chunk
from headrace.streams.delivery import AbortedError, Output, Sink
from headrace.streams.flow import Host
from headrace.streams.membership import Member, Membership
from headrace.streams.threads import SingleThread

log = get_logger("headrace.streams")

OVERLAP_RECORDS = 1000
MOST_ABORTS = 8
"""Aborted transactions in a row before the process ends: it is not healing."""
DELIVER_S = 30.0
"""Longest that a delivery may take: by then the broker has aborted the transaction (after 10 s by default).

librdkafka's calls can outlast their own timeouts when a coordinator is replaced (its issue 5511): a commit in which the
broker was killed
was seen not to return. Then the process ends, and a successor goes on from the last commit."""
CLOSE_S = 5.0
_FIRST_BACKOFF_S = 0.05


class ChunkPipeline:
    """A `Flow`: takes rounds of chunks, processes them, delivers what they become, in order and once."""

    def __init__(
        self,
        process: Callable[[Sequence[Chunk]], Output],
        sink: Sink,
        membership: Membership,
        *,
        ready: Callable[[], bool] = lambda: True,
        delivered: Callable[[Output], None] = lambda _output: None,
        aborted: Callable[[], None] = lambda: None,
        overlap_records: int = OVERLAP_RECORDS,
    ) -> None:
        self._process = process
        self._sink = sink
        self._membership = membership
        self._ready = ready
        self._delivered = delivered
        self._aborted = aborted
        self._overlap_records = overlap_records
        self._wake: Callable[[], None] = lambda: None
        self._host: Host | None = None
        self._coming = False
        self._pending: list[Chunk] = []
        self._void = 0
        self._aborts = 0
        self._computing = False
        self._commit: asyncio.Task[None] | None = None
        self._rewinding: asyncio.Task[None] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._compute_thread = SingleThread("predict")
        self._commit_thread = SingleThread("commit")

    # -- the consumer's side
    # ---------------------------------------------------------------------------------------------

    def bind(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a round may have become wanted."""
        self._wake = wake

    def poke(self) -> None:
        """Look again whether a round is wanted: `ready` has changed. From any thread."""
        if self._worker is not None:
            self._worker.get_loop().call_soon_threadsafe(self._wake)

    def give_up(self, error: HeadraceError) -> None:
        """End over this error at once, even in a delivery that would wait for what never comes. From any thread."""
        if self._worker is not None:
            self._worker.get_loop().call_soon_threadsafe(self._given_up, error)

    @property
    def idle(self) -> bool:
        """Nothing is being worked out or committed."""
        return not self._computing and self._commit is None and self._rewinding is None

    def open(self, buffered: int) -> bool:
        """Whether the next round is wanted now."""
        if not buffered or self._coming or self._pending or self._rewinding is not None or not self._ready():
            return False
        return buffered >= self._overlap_records or self.idle

    def issued(self) -> None:
        """The chunks of a round will be submitted."""
        self._coming = True

    def begin(self, generation: int) -> None:  # noqa: ARG002 - chunks carry theirs
        """Chunks that were on their way never come."""
        self._coming = False
        self._pending.clear()
        self._complete.clear()

    async def quiesce(self) -> None:
        """Forget what has not been started, and finish what has."""
        self._pending.clear()
        while self._computing or self._commit is not None:
            await self._changed.wait()
            self._changed.clear()

    # -- the agent's side
    # ------------------------------------------------------------------------------------------------

    def submit(self, chunk: Chunk) -> None:
        """Hand over a chunk. It is committed by a transaction, whatever Faust does with its acknowledgement."""
        if chunk.generation != self._membership.generation:
            return
        self._pending.append(chunk)
        if len(self._pending) >= chunk.round_size:
            self._coming = False
            self._complete.set()

    # -- life
    # ------------------------------------------------------------------------------------------------------------

    async def start(self, host: Host) -> None:
        """Connect the sink and begin to work.

        Raises:
            HeadraceError: the broker does not let this process begin.
        """
        self._host = host
        self._changed, self._complete = asyncio.Event(), asyncio.Event()
        await self._commit_thread.call(self._sink.open)
        self._worker = asyncio.create_task(self._work(), name="chunk-pipeline")

    async def close(self) -> None:
        """End; what is in hand was finished by `quiesce` before."""
        tasks = [t for t in (self._worker, self._commit, self._rewinding) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            if not self._gone.is_set():  # else the thread may be in a call that does not end
                await self._commit_thread.call(self._sink.close, timeout=CLOSE_S)
        except TimeoutError:
            log.warning("the sink did not close", waited_s=CLOSE_S)
        self._compute_thread.close()
        self._commit_thread.close()

    # -- the work
    # --------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while True:
                await self._complete.wait()
                self._complete.clear()
                chunks, self._pending = self._pending, []
                if not chunks:
                    continue
                self._computing = True
                self._wake()
                output = await self._compute_thread.call(self._process, chunks)
                if self._commit is not None:
                    await self._commit
                self._commit = asyncio.create_task(self._deliver(output))
                self._computing = False
                self._tell()
        except HeadraceError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - the worker's edge: the process must end rather than go on without the chunk
            self._fail(HeadraceError(f"the stream's processor failed: {type(error).__name__}: {error}"))
        finally:
            self._computing = False
            self._tell()

    async def _deliver(self, output: Output) -> None:
        member = self._membership.current
        try:
            if output.generation != member.generation or output.generation <= self._void:
                return  # its partitions were read again from the committed offsets
            if not await self._delivers(output, member):
                return  # given up, and told
            if not self._sink.commits_offsets:
                await self._must_host().commit_offsets(output)
            self._aborts = 0
            self._delivered(output)
        except AbortedError as error:
            self._retry(output, error)
        except TimeoutError:
            self._void = output.generation
            self._fail(
                DependencyError(
                    f"a delivery did not end within {DELIVER_S:.0f} s", hint="was the broker away for long?"
                )
            )
        except HeadraceError as error:
            self._void = output.generation
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - the task's edge: the next output must never commit past this one
            self._void = output.generation
            self._fail(HeadraceError(f"a delivery failed: {type(error).__name__}: {error}"))
        finally:
            self._commit = None
            self._tell()

    async def _delivers(self, output: Output, member: Member) -> bool:
        """Hand it to the sink; False if that was given up, which may leave the sink's thread in a call for good."""
        call = asyncio.ensure_future(self._commit_thread.call(self._sink.deliver, output, member, timeout=DELIVER_S))
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait([call, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            call.cancel()
        if not call.done():
            return False
        call.result()
        return True

    def _given_up(self, error: HeadraceError) -> None:
        self._void = self._membership.generation
        self._gone.set()
        self._fail(error)

    def _retry(self, output: Output, error: AbortedError) -> None:
        """Nothing of this generation may be committed any more, since this output would be skipped: start again."""
        self._void = output.generation
        self._aborts += 1
        self._aborted()
        if self._aborts > MOST_ABORTS:
            self._fail(DependencyError(f"{self._aborts} transactions in a row were aborted, the last by {error}"))
        elif self._membership.generation == output.generation:
            self._rewinding = asyncio.create_task(self._rewind(_FIRST_BACKOFF_S * 2 ** (self._aborts - 1)))

    async def _rewind(self, backoff_s: float) -> None:
        try:
            await asyncio.sleep(backoff_s)
            await self._must_host().rewind()
        except HeadraceError as error:
            self._fail(error)
        finally:
            self._rewinding = None
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._wake()

    def _fail(self, error: HeadraceError) -> None:
        self._must_host().fail(error)

    def _must_host(self) -> Host:
        if self._host is None:
            raise HeadraceError("the pipeline has not been started")
        return self._host
