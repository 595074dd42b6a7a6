"""What is done for a whole column at once comes to what is done for each record, or changes nothing."""

from typing import Any

import msgspec
import pytest

from headrace.streams.polled import by_partition, without_errors
from services.ingest.join.clock import Span
from services.ingest.join.examples import ExampleWriter
from services.ingest.join.keys import KeyReader
from services.ingest.join.labels import Sampling
from services.ingest.join.rules import Pair
from services.ingest.join.state.open import OpenRecords
from services.ingest.join.state.records import Record, Records
from services.ingest.join.state.seen import SeenKeys

WINDOW = 1000


def remembered(seen: SeenKeys) -> dict[str, int | None]:
    return {key: seen.last(key) for key in "abcdef"}


@pytest.mark.parametrize(
    ("keys", "times"),
    [("cdc", [5, 6, 7]), ("cda", [5, 6, 7]), ("cda", [5, 6, 10]), ("ab", [10, 20]), ("cdb", [5, 6, 20]),
     ("cca", [400, 600, 900]), ("cdf", [5, 6, 900])],
)  # fmt: skip
def test_keys_of_which_one_is_known_or_twice_change_nothing(keys: str, times: list[int]) -> None:
    seen = SeenKeys(WINDOW)
    assert seen.add_new("ab", [10, 20], 3)
    assert seen.add_new("f", [900], 5)
    before, count, offset = remembered(seen), len(seen), seen.first_offset
    assert not seen.add_new(keys, times, 0)
    assert (remembered(seen), len(seen), seen.first_offset) == (before, count, offset)


@pytest.mark.parametrize("times", [[5, 6], [5, 600], [600, 700]])
def test_new_keys_are_remembered_with_their_times(times: list[int]) -> None:
    seen = SeenKeys(WINDOW)
    assert seen.add_new("ab", [10, 20], 3)
    assert seen.add_new("cd", times, 2)
    assert (seen.last("c"), seen.last("d"), seen.last("a")) == (*times, 10)
    assert (len(seen), seen.first_offset) == (4, 2)


def test_what_is_taken_and_put_back_is_as_it_was() -> None:
    store = OpenRecords(WINDOW)
    records = Records.of([Record(0, 10, b"one"), Record(1, 20, b"three")])
    store.add_all(["a", "b"], records, [None, None])
    store.add("b", Record(2, 30, b"x"), Span(0, 50, odd=True))
    before = (dict(store.by_key), len(store), store.bytes_held)
    taken = store.take_all(["a", "b", "c"])
    assert taken[0] == Record(0, 10, b"one")
    assert taken[2] is None
    assert (len(store), store.bytes_held) == (0, 0)
    for key, entry in zip("ab", taken, strict=False):
        assert entry is not None
        store.put_back(key, entry)
    assert (store.by_key, len(store), store.bytes_held) == before


class Named(msgspec.Struct):
    id: str
    n: int


class Numbered(msgspec.Struct):
    id: int


def test_a_column_of_keys_is_each_records_key_as_text() -> None:
    names = KeyReader(msgspec.json.Decoder(Named), "id")
    values = [b'{"id":"a","n":1}', b'{"id":"\\u00fc","n":2}']
    assert names.column(values) == [names(value) for value in values] == ["a", "\u00fc"]
    assert KeyReader(msgspec.json.Decoder(Numbered), "id").column([b'{"id":7}']) == ["7"]
    with pytest.raises(ValueError, match="Expected `int`"):
        names.column([*values, b'{"id":"b","n":"x"}'])


def test_examples_of_a_column_are_each_pairs_example_byte_by_byte() -> None:
    event, label = Record(7, 1000, b'{"id":"k\\"1"}'), Record(9, 2000, b'{"y": 1}')
    pairs = [Pair('k"1', event, label), Pair("\u00fc", event, label, corrected=True)]
    for writer in (ExampleWriter(WINDOW, corrected_weight=2.0), ExampleWriter(WINDOW, sampling=halved())):
        assert writer.encode_all(pairs, 3) == [writer.encode(pair, 3) for pair in pairs]
        assert writer.encode_all([], 3) == []


def halved() -> Sampling:
    class Label(msgspec.Struct):
        y: int

    return Sampling([({"y": 1}, 0.5)], msgspec.json.Decoder(Label).decode)


class Told:
    """Of a message, what says where it is from."""

    def __init__(self, topic: str, partition: int, offset: int, error: object = None) -> None:
        self._told = topic, partition, offset, error

    def topic(self) -> str:
        return self._told[0]

    def partition(self) -> int:
        return self._told[1]

    def offset(self) -> int:
        return self._told[2]

    def error(self) -> object:
        return self._told[3]


def test_messages_are_sorted_by_topic_and_partition_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.streams.polled.Message", Told)
    rows = [("e", 0, 1), ("e", 0, 2), ("l", 0, 1), ("l", 1, 4), ("e", 0, 3), ("l", 1, 5)]
    messages: list[Any] = [Told(*row) for row in rows]
    found = [[(m.topic(), m.partition(), m.offset()) for m in some] for some in by_partition(messages)]
    assert found == [[rows[0], rows[1], rows[4]], [rows[2]], [rows[3], rows[5]]]
    assert list(by_partition([])) == []
    end = Told("e", 0, 4, error="end")
    good, failed = without_errors([*messages, end])  # type: ignore[list-item]
    assert (list(good), failed) == (messages, [end])
