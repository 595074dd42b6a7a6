"""The headers that the events of a backlog carry, by the name of the measurement and of its ratio."""

import random
from collections.abc import Callable, Mapping

TRACEPARENT = "traceparent"
Header = tuple[str, bytes]


def _application(_dice: random.Random) -> list[Header]:
    """One header of the producing application, which no prediction carries over."""
    return [("ce_source", b"/shops/berlin/checkout")]


def _traceparent(dice: random.Random) -> list[Header]:
    """A W3C trace context, another in every record; it goes on to the prediction."""
    return [(TRACEPARENT, f"00-{dice.getrandbits(128):032x}-{dice.getrandbits(64):016x}-01".encode())]


KINDS: Mapping[str, Callable[[random.Random], list[Header]]] = {"headers": _application, TRACEPARENT: _traceparent}


def make_headers(kind: str, records: int) -> list[list[Header]]:
    """The headers of so many records; the same every time."""
    dice = random.Random(0)
    return [KINDS[kind](dice) for _ in range(records)]
