"""What an example says of the label that it has: the default, a correction, one of a sample."""

from typing import Any

import msgspec
import pytest

from headrace.contracts.records import Example, example_decoder
from headrace.model.join_spec import JoinSpec
from services.ingest.join.app import rules_of
from services.ingest.join.examples import ExampleWriter
from services.ingest.join.labels import DefaultLabel, Sampling
from services.ingest.join.loop import Joiner
from services.ingest.join.service import EVENTS, LABELS, SIDES, Counts, Pair, Record
from tests.unit.ingest.join.join_kit import small_blocks
from tests.unit.ingest.join.test_join_loop import NAMES, T0, MemoryLogs, MemorySink, record


class Event(msgspec.Struct):
    id: int
    x: float


class Label(msgspec.Struct, rename={"clicked": "was_clicked", "id": "event_id"}):
    id: int
    clicked: bool


DECODE = example_decoder(Event, Label).decode
NOT_CLICKED = DefaultLabel("event_id", {"was_clicked": False}, lambda event: msgspec.json.decode(event)["id"])
SAMPLING = Sampling([({"clicked": False}, 0.1)], msgspec.json.Decoder(Label).decode)


def pair(n: int, clicked: bool | None, *, corrected: bool = False) -> Pair:
    event = Record(n, T0, msgspec.json.encode(Event(n, 1.5)))
    label = None if clicked is None else Record(n + 1, T0 + 7, msgspec.json.encode(Label(n, clicked)))
    return Pair(str(n), event, label, corrected)


def example(writer: ExampleWriter, *args: Any, **options: Any) -> Example[Event, Label] | None:
    encoded = writer.encode(pair(*args, **options), 3)
    return None if encoded is None else DECODE(encoded)


def test_the_default_label_has_the_events_key_in_its_own_type_and_no_source() -> None:
    found = example(ExampleWriter(100, NOT_CLICKED), 12, None)
    assert found == Example("12", Event(12, 1.5), Label(12, False), (3, 12), None, T0, T0 + 100, "default")


def test_a_correction_is_marked_and_has_its_weight() -> None:
    writer = ExampleWriter(100, corrected_weight=2.5)
    found, plain = example(writer, 1, True, corrected=True), example(writer, 1, True)
    assert found is not None
    assert plain is not None
    assert (found.kind, found.weight, found.label_source) == ("corrected", 2.5, (3, 2))
    assert (plain.kind, plain.weight, plain.probability) == ("label", 1.0, 1.0)


@pytest.mark.parametrize("clicked", [False, None])
def test_of_a_sampled_label_the_share_is_kept_with_its_probability_and_the_same_keys_whoever_asks(
    clicked: bool | None,
) -> None:
    one, other = (ExampleWriter(100, NOT_CLICKED, SAMPLING) for _ in range(2))
    found = [example(one, n, clicked) for n in range(5000)]
    kept = [made for made in found if made is not None]
    assert 400 < len(kept) < 600
    assert {made.importance for made in kept} == {10.0}
    assert found == [example(other, n, clicked) for n in range(5000)]
    assert all(example(one, n, True) is not None for n in range(100))


def key(value: bytes) -> str:
    found = msgspec.json.decode(value)
    return str(found["id"] if "id" in found else found["event_id"])


def run(events: list[Record], labels: list[Record], spec: JoinSpec, writer: ExampleWriter) -> tuple[MemorySink, Counts]:
    sink, total = MemorySink(), Counts()

    def counted(counts: Counts, _rejected: int) -> None:
        total.matched += counts.matched
        total.sampled_out += counts.sampled_out

    joiner = Joiner(NAMES, rules_of(spec), key, key, sink, writer=writer, counted=counted)
    logs = MemoryLogs(joiner, sink, events, labels)
    logs.assign()
    joiner.step(logs)
    return sink, total


def test_defaults_and_dead_letters_of_late_labels_go_in_the_transaction_in_which_they_expire() -> None:
    spec = JoinSpec(
        window_s=0.1,
        labels={"late": "dead_letter", "missing": {"default": {"was_clicked": False}}},  # type: ignore[arg-type]
    )
    events = [record(EVENTS, n, n * 10, {"id": n, "x": 1.5}) for n in range(60)]
    labels = [record(LABELS, 0, 0, {"event_id": 900, "was_clicked": True}, [("h", b"1")])]
    labels += [record(LABELS, n, n * 10, {"event_id": n, "was_clicked": True}) for n in range(2, 60)]
    with small_blocks(1, 1):
        sink, _ = run(events, labels, spec, ExampleWriter(100, NOT_CLICKED))
    found = [DECODE(value) for value in sink.values]
    assert [made.key for made in found if made.kind == "default"] == ["0", "1"]
    assert len({made.key for made in found}) == len(found) == 60
    (letter,) = sink.dead
    assert (letter.topic, letter.offset, letter.phase, letter.timestamp_ms) == ("toy.labels", 0, "join", T0)
    assert (letter.value, letter.key, letter.headers[0].value) == (labels[0].value, b"k0", b"1")


def test_examples_left_out_are_counted_and_their_offsets_pass() -> None:
    events = [record(EVENTS, n, n, {"id": n, "x": 1.5}) for n in range(200)]
    labels = [record(LABELS, n, n, {"event_id": n, "was_clicked": False}) for n in range(200)]
    sink, counts = run(events, labels, JoinSpec(), ExampleWriter(100, None, SAMPLING))
    kept = len(sink.values)
    assert 0 < kept < 60
    assert (counts.sampled_out, counts.matched) == (200 - kept, 200)
    assert [sink.committed(side).offset for side in SIDES] == [200, 200]
