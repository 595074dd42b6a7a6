"""The app that the transport works for. The app knows its transport; the transport knows only this of the app."""

from typing import Protocol

from headrace.runtime.errors import HeadraceError
from headrace.streams.chunks import Partition
from headrace.streams.membership import Membership
from headrace.streams.options import ChunkOptions


class ChunkHost(Protocol):
    """What the consumer and the producer need of their app beside what every Faust app has. On the event loop."""

    chunks: ChunkOptions
    membership: Membership

    def fail(self, error: HeadraceError) -> None:
        """End the app with this error."""
        ...

    async def tell_assignment(self, assigned: set[Partition]) -> None:
        """These are the partitions that this process has now."""
        ...
