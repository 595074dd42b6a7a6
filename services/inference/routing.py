"""Which keys a canary answers.

A pure function of the key and of the canary's own part, so that it is the same everywhere.

A key's place is its xxh3 hash as a fraction of the hash's range. A canary answers the keys whose place lies in [start,
start + share). So every process sends the same key to the same model, on every partition and every day. A larger share
moves keys to that canary and to no other; adding or removing a canary moves no other canary's keys. (Parts computed
from the shares alone could not promise that: with three canaries, no rule lets each grow without moving another's
keys.)

The key is the model's (`Model.key`), as text, as it stands on every prediction. It is not Kafka's: producers need not
set that one, and the model's is the same whether an event came by REST, gRPC, Kafka or a replay. Whoever reads the sink
can tell from a prediction alone which model should have made it.
"""

from collections.abc import Sequence

import xxhash

SPAN = 2**64


def place(key: str) -> int:
    """The key's place among all keys, 0 to 2**64 - 1."""
    return xxhash.xxh3_64_intdigest(key.encode())


class Router:
    """Finds the keys of each canary.

    Args:
        parts: where each canary's part of the keys begins and ends, of [0, 1); they do not overlap.
    """

    def __init__(self, parts: Sequence[tuple[float, float]]) -> None:
        self._parts = [(round(start * SPAN), round(end * SPAN)) for start, end in parts]

    def route(self, keys: Sequence[str]) -> list[list[int]]:
        """For each canary the indices of its keys, ascending; the champion answers all other keys."""
        places = [place(key) for key in keys]
        return [[i for i, at in enumerate(places) if low <= at < high] for low, high in self._parts]
