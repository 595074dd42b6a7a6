"""Which dead letters a replay puts back, and as what."""

from datetime import UTC, datetime

import pytest

from headrace.contracts.events_pb2 import DeadLetter, LetterReplayed
from headrace.contracts.topics import REPLAYS
from headrace.deadletters.letters import Letter, Letters, dead_letter
from headrace.deadletters.plan import entry_of, plan, record_of
from headrace.deadletters.selection import Selection, parse_place, parse_since
from headrace.runtime.errors import ConfigError
from headrace.streams.memory import MemoryRecord

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def letter(
    offset: int, *, of: int | None = None, phase: str = "decode", reason: str = "", at_us: int = 0, partition: int = 0
):
    record = offset if of is None else of
    body = DeadLetter(
        topic="t",
        partition=partition,
        offset=record,
        timestamp_ms=1000 + record,
        phase=phase,
        reason=reason,
        at_us=at_us,
    )
    return Letter(partition, offset, body)


def test_a_letter_made_by_the_stream_goes_back_as_the_record_that_it_was():
    headers = [("origin", b"x"), ("origin", None), ("headrace-replay-attempt", b"1"), ("headrace-replay-of", b"t[3]@5")]
    record = MemoryRecord(b"\xff{", b"\x00k", "t", 3, 17, 1234, headers)
    value = dead_letter(record, phase="decode", error=ValueError("no"), service="s", model="m", version=4)
    letters = Letters("t")
    letters.add(MemoryRecord(value, b"\x00k", "t.dlq", 1, 8))
    (found,) = letters.found
    back = record_of(found)
    assert (back.topic, back.partition, back.key, back.value) == ("t", 3, b"\x00k", b"\xff{")
    assert list(back.headers) == [
        ("origin", b"x"), ("origin", None),
        ("headrace-replay-of", b"t[3]@17"), ("headrace-replay-letter", b"t.dlq[1]@8"),
        ("headrace-replay-attempt", b"2"), ("headrace-replay-timestamp-ms", b"1234"),
    ]  # fmt: skip


def test_absent_and_empty_stay_different():
    for key, value in ((None, None), (b"", b"")):
        record = MemoryRecord(value, key, "t")
        letters = Letters("t")
        letters.add(MemoryRecord(dead_letter(record, phase="decode", error="e", service="s", model="m", version=0)))
        back = record_of(letters.found[0])
        assert (back.key, back.value) == (key, value)


def test_what_is_no_letter_of_the_topic_is_told_and_not_put_back():
    letters = Letters("t")
    letters.add(MemoryRecord(b"\xff\xff", None, "t.dlq", 0, 4))
    letters.add(MemoryRecord(DeadLetter(topic="other").SerializeToString(), None, "t.dlq", 2, 5))
    letters.add(MemoryRecord(None, None, "t.dlq", 3, 6))
    assert (letters.found, letters.unreadable) == ([], ["0:4", "2:5", "3:6"])


def test_a_record_is_put_back_once_however_many_letters_it_has():
    made = plan([letter(0, of=7), letter(1, of=7), letter(2, of=8)], Selection(), set())
    assert [x.body.offset for x in made.fresh] == [7, 8]
    assert made.same_record == 1


def test_what_was_put_back_is_not_put_back_again_and_what_a_filter_passed_over_still_can_be():
    letters = [letter(n, phase="decode" if n % 2 else "features") for n in range(10)]
    first = plan(letters, Selection(phase="decode"), set())
    done = {x.record_id for x in first.fresh}
    assert (len(first.fresh), first.passed_over, first.chosen) == (5, 5, 5)
    second = plan(letters, Selection(), done)
    assert (len(second.fresh), second.replayed) == (5, 5)
    third = plan(letters, Selection(), done | {x.record_id for x in second.fresh})
    assert (third.fresh, third.replayed) == ([], 10)


def test_records_go_back_in_the_order_in_which_they_came():
    made = plan([letter(0, of=9), letter(1, of=3), letter(0, of=1, partition=1)], Selection(), set())
    assert [(x.body.partition, x.body.offset) for x in made.fresh] == [(0, 3), (0, 9), (1, 1)]


def test_the_same_offset_of_a_topic_made_anew_is_another_record():
    old, new = letter(0, of=5), letter(1, of=5)
    new.body.timestamp_ms += 1
    assert plan([old, new], Selection(), {old.record_id}).fresh == [new]


@pytest.mark.parametrize(
    ("selection", "offsets"),
    [
        (Selection(), [0, 1, 2]),
        (Selection(phase="features"), [1]),
        (Selection(reason="nan"), [2]),
        (Selection(since_us=20), [1, 2]),
        (Selection(places=frozenset({(0, 0), (1, 1)})), [0]),
        (Selection(phase="features", reason="nan"), []),
    ],
)
def test_every_condition_must_hold(selection, offsets):
    letters = [
        letter(0, reason="bad JSON", at_us=10),
        letter(1, phase="features", at_us=20),
        letter(2, reason="it is NaN", at_us=30),
    ]
    assert [x.offset for x in letters if selection.takes(x)] == offsets


def test_the_entry_names_the_record_the_letter_and_who_did_it():
    entry = entry_of(letter(8, of=5, partition=2), by="ada")
    said = LetterReplayed.FromString(entry.value)
    assert (entry.topic, entry.key) == (REPLAYS.name(), b"t/2/5/1005")
    assert (said.topic, said.partition, said.offset, said.timestamp_ms) == ("t", 2, 5, 1005)
    assert (said.letter_partition, said.letter_offset, said.attempt, said.replayed_by) == (2, 8, 1, "ada")
    assert REPLAYS.compacted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("2h", 7200),
        ("3d", 259_200),
        ("2026-03-01T11:59", 60),
        ("2026-03-01T13:59:00+02:00", 60),
    ],
)
def test_since(text, seconds):
    assert parse_since(text, NOW) == (NOW.timestamp() - seconds) * 1e6


@pytest.mark.parametrize("text", ["", "yesterday", "3w", "99999999999999d"])
def test_since_that_is_no_time(text):
    with pytest.raises(ConfigError, match="is not a time"):
        parse_since(text, NOW)


def test_places():
    assert parse_place("3:17") == (3, 17)
    for wrong in ("3", "3@17", "-1:2", "a:b"):
        with pytest.raises(ConfigError, match="not the place"):
            parse_place(wrong)
