"""Records of any topic as plain values."""

from headrace.contracts import events_pb2
from headrace.contracts.plain_values import message_type, plain_value, text
from headrace.contracts.topics import CATALOGUE


def test_every_topic_of_protobuf_has_its_type_and_the_others_are_json() -> None:
    for spec in CATALOGUE:
        kind = message_type(spec.name("toy"))
        assert (kind is None) is not spec.schema.startswith("headrace.v1.")
        if kind is not None:
            assert kind.DESCRIPTOR.full_name == spec.schema
    assert message_type("toy.events.dlq") is events_pb2.DeadLetter


def test_json_is_shown_as_it_is() -> None:
    assert plain_value("toy.events", b'{"id": "a", "x": 1.5}') == {"id": "a", "x": 1.5}


def test_a_checkpoint_without_its_bytes_and_with_times_and_numbers() -> None:
    message = events_pb2.CheckpointPublished(
        model="toy", version=3, manifest=b"x" * 5000, created_at_us=1_700_000_000_123_456, metrics={"loss": 0.5},
        offsets=[events_pb2.PartitionOffset(topic="toy.examples", partition=1, offset=70)],
    )  # fmt: skip
    assert plain_value("headrace.checkpoints", message.SerializeToString()) == {
        "model": "toy",
        "version": 3,
        "manifest": "(5,000 bytes)",
        "created_at_us": "2023-11-14T22:13:20.123Z",
        "metrics": {"loss": 0.5},
        "offsets": {"toy.examples[1]": 70},
    }


def test_a_dead_letter_shows_what_was_in_it() -> None:
    message = events_pb2.DeadLetter(
        topic="toy.events", partition=0, offset=12, key=b"k", value=b"{not json", phase="decode", reason="malformed",
        headers=[events_pb2.Header(name="traceparent", value=b"00-1"), events_pb2.Header(name="empty")],
    )  # fmt: skip
    shown = plain_value("toy.events.dlq", message.SerializeToString())
    assert (shown["value"], shown["key"], shown["offset"]) == ("{not json", "k", 12)
    assert shown["headers"] == {"traceparent": "00-1", "empty": None}


def test_what_is_not_decodable_is_shown_as_text_or_hexadecimal() -> None:
    assert plain_value("toy.events", b"{not json") == "{not json"
    assert plain_value("toy.events", b"\xff\xfe") == "0xfffe"
    assert plain_value("toy.events", None) is None
    assert text(b"\xff" * 200).endswith("… (200 bytes)")
