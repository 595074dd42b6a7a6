"""Going on with a replay: what is in the topics already is passed over, and nothing else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.source import Timed
from headrace.replay.resuming import after, murmur2, partition_of


class Trip(msgspec.Struct):
    trip_id: str
    at: float
    seats: int
    note: str = "none"
    rain: float | None = None


@pytest.mark.parametrize(
    ("data", "hashed"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
     (b"a-little-bit-longer-string", -1486304829), (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
     (b"abc", 479470107)],
)  # fmt: skip
def test_keys_hash_as_in_the_java_client(data: bytes, hashed: int) -> None:
    """Its own test vectors, as signed 32-bit numbers."""
    assert murmur2(data) == hashed % 2**32


@given(st.lists(st.integers(0, 99), min_size=1), st.integers(1, 5), st.data())
def test_a_replay_goes_on_without_loss_or_repetition(keys: list[int], partitions: int, data: st.DataObject) -> None:
    """Whatever first part of each partition was there: what was there and what follows is everything, in order."""
    records = [Timed(float(i), "labels" if i % 3 else "events", Trip(f"k{key}", 0.0, 1)) for i, key in enumerate(keys)]

    def where(record: Timed) -> tuple[str, int]:
        return record.kind, partition_of(record.value.trip_id.encode(), partitions)  # type: ignore[attr-defined]

    full = {(k, p): [r for r in records if where(r) == (k, p)] for k in ("events", "labels") for p in range(partitions)}
    there = {place: data.draw(st.integers(0, len(content))) for place, content in full.items()}
    counts = {kind: [there[kind, p] for p in range(partitions)] for kind in ("events", "labels")}
    rest = list(after(records, lambda value: value.trip_id, counts))
    for place, content in full.items():
        assert content[: there[place]] + [r for r in rest if isinstance(r, Timed) and where(r) == place] == content
