"""The events and labels of the benchmark, by column: keys are numbers in their order, a label follows its event."""

import gc
from typing import Any

import msgspec

from headrace.model.join_spec import JoinSpec
from services.ingest.join.app import rules_of
from services.ingest.join.keys import KeyReader
from services.ingest.join.service import KeyOf, PairJoin, Records, Resume

T0_MS = 1_800_000_000_000
SHARE_OPEN = 0.05
"""Events that never get a label."""


class Event(msgspec.Struct, gc=False):
    """An event of a usual size."""

    id: str
    zone: int
    hour: int
    distance_km: float
    passengers: int
    rate: float


class Label(msgspec.Struct, gc=False):
    """What became of it."""

    id: str
    minutes: float


KEYS: tuple[KeyOf, KeyOf] = (
    KeyReader(msgspec.json.Decoder(Event), "id"),
    KeyReader(msgspec.json.Decoder(Label), "id"),
)


class NoMessage:
    """What the join asks of an event's Kafka message."""

    def key(self) -> None:
        """None: as its value says."""

    def headers(self) -> None:
        """None."""


_NO_MESSAGE = NoMessage()


def key_of(n: int) -> str:
    """The key of pair n."""
    return f"ride-{n:012d}"


def event(n: int) -> bytes:
    """Event n."""
    return b'{"id":"ride-%012d","zone":%d,"hour":%d,"distance_km":%d.25,"passengers":2,"rate":1.5}' % (
        n, n % 250, n % 24, n % 30,
    )  # fmt: skip


def label(n: int) -> bytes:
    """Label n."""
    return b'{"id":"ride-%012d","minutes":%d.5}' % (n, n % 60)


def columns(make: Any, start: int, count: int, per_s: int, offset: int) -> Records:
    """Records `start` and on, `per_s` of them a second of record time."""
    numbers = range(start, start + count)
    return Records(
        list(range(offset, offset + count)), [T0_MS + n * 1000 // per_s for n in numbers], list(map(make, numbers)),
        [_NO_MESSAGE] * count,
    )  # fmt: skip


def new_join(window_s: float, **options: Any) -> PairJoin:
    """A join of one partition, as the role makes it."""
    gc.freeze()
    return PairJoin(rules_of(JoinSpec(window_s=window_s)), Resume(0), Resume(0), *KEYS, rebuild=False, **options)
