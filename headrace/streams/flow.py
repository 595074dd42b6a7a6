"""When the consumer hands out what it has buffered, and what a rebalance must wait for."""

from collections.abc import Callable
from typing import Protocol

from headrace.runtime.errors import HeadraceError
from headrace.streams.delivery import Output


class Host(Protocol):
    """The app that a flow works for. On the event loop."""

    def fail(self, error: HeadraceError) -> None:
        """End the app with this error."""
        ...

    async def rewind(self) -> None:
        """Give up everything in hand and begin a new generation at the committed offsets."""
        ...

    async def commit_offsets(self, output: Output) -> None:
        """Commit an output's offsets outside of a transaction."""
        ...


class Flow(Protocol):
    """The demand side of a chunk consumer. All on the event loop."""

    async def start(self, host: Host) -> None:
        """Begin, before anything is consumed."""
        ...

    async def close(self) -> None:
        """End, after the consumer has left its group."""
        ...

    def bind(self, wake: Callable[[], None]) -> None:
        """`wake` is to be called whenever `open` may have become true."""
        ...

    def open(self, buffered: int) -> bool:
        """Whether the next round, of up to `buffered` records, is wanted now."""
        ...

    def issued(self) -> None:
        """A round is on its way to the agents: a chunk a partition, each with the round's size."""
        ...

    def begin(self, generation: int) -> None:
        """A new assignment: chunks of earlier ones never arrive, or are to be ignored."""
        ...

    async def quiesce(self) -> None:
        """Return when no chunk is being worked on and nothing is being committed."""
        ...


class AgentFlow:
    """For agents that do their work where they are.

    The agent's own queue is the bound, and its acknowledgement the end.
    """

    async def start(self, host: Host) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to end."""

    def bind(self, wake: Callable[[], None]) -> None:
        """Nothing to wake: `open` never changes."""

    def open(self, buffered: int) -> bool:
        """Whenever something is there; a full queue of the agent holds the fetcher back."""
        return buffered > 0

    def issued(self) -> None:
        """Of no concern: `open` never changes."""

    def begin(self, generation: int) -> None:
        """Faust itself skips chunks of earlier generations."""

    async def quiesce(self) -> None:
        """Faust itself waits for the acknowledgements."""
