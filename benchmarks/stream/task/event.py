"""The events: what is on the topic, and what every contestant decodes. Needs nothing but msgspec."""

import random

import msgspec

DIFFERENT = 5000


class Event(msgspec.Struct):
    """About 170 bytes of JSON."""

    id: str
    a: float
    b: float
    c: float
    d: float
    e: int
    f: int
    g: int
    note: str


def make_events() -> list[tuple[bytes, bytes]]:
    """5000 different events as (value, key); the same every time."""
    dice = random.Random(0)
    made = [
        Event(
            f"event-{n}",
            *(round(dice.uniform(-1, 1), 6) for _ in range(4)),
            *(dice.randrange(100) for _ in range(3)),
            "x" * 40,
        )
        for n in range(DIFFERENT)
    ]
    return [(msgspec.json.encode(e), e.id.encode()) for e in made]
