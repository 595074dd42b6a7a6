"""The position of a reader: the next offset of every partition. As text, `0:17,1:4`, it is a server-sent event's id."""

from collections.abc import Mapping

from services.gateway.errors import BadRequestError

Positions = dict[int, int]


def render(positions: Mapping[int, int]) -> str:
    """The positions as text."""
    return ",".join([f"{partition}:{offset}" for partition, offset in sorted(positions.items())])


def parse(text: str, partitions: int) -> Positions:
    """The positions that the text names.

    Raises:
        BadRequestError: it is not a list of partition:offset, or names a partition that the topic does not have.
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
