"""Encodings of earlier versions of the system events must be readable, field by field, for ever.

tests/contracts/kept/<version>/<Message>.bin holds an encoding made when that version was current, and <Message>.json
what it meant. Add a folder when a field is added; never change one that exists.
"""

from pathlib import Path

import pytest
from google.protobuf import json_format

from headrace.contracts import events_pb2

KEPT = Path(__file__).parent / "kept"
CASES = sorted(KEPT.glob("*/*.bin"))


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_earlier_encoding_still_means_the_same(path: Path) -> None:
    message = getattr(events_pb2, path.stem)()
    message.ParseFromString(path.read_bytes())
    expected = getattr(events_pb2, path.stem)()
    json_format.Parse(path.with_suffix(".json").read_text(), expected)
    assert message == expected


def test_every_message_has_a_kept_encoding() -> None:
    assert {p.stem for p in CASES} == set(events_pb2.DESCRIPTOR.message_types_by_name)


@pytest.mark.parametrize("name", sorted(events_pb2.DESCRIPTOR.message_types_by_name))
def test_unknown_fields_of_a_later_version_survive_a_round_trip(name: str) -> None:
    later = b"\xfa\x3f\x05hello"  # field 1023, length-delimited: nothing that we know
    message = getattr(events_pb2, name)()
    message.ParseFromString(later)
    assert message.SerializeToString() == later
