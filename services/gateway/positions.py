"""Where a reader of the predictions is: the next offset of every partition, as text `0:17,1:4`. It is each event's SSE id."""

from collections.abc import Mapping

from services.gateway.errors import BadRequestError

Positions = dict[int, int]


def render(positions: Mapping[int, int]) -> str:
    """The positions as text."""
    return ",".join([f"{partition}:{offset}" for partition, offset in sorted(positions.items())])


def parse(text: str, partitions: int) -> Positions:
    """The positions in text; partitions that it leaves out are not in the result.

    Raises:
        BadRequestError: it is no list of partition:offset, or names a partition that the topic has not.
    """
    positions: Positions = {}
    for part in text.split(","):
        partition, colon, offset = part.partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal()) or len(offset) > 18:
            raise BadRequestError(f"a position is partition:offset,..., got {text!r}")
        if int(partition) >= partitions:
            raise BadRequestError(f"the topic has {partitions} partitions, got a position in {partition}")
        positions[int(partition)] = int(offset)
    return positions
