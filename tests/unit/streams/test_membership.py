"""Generations, and which group metadata may be sent."""

import struct

import pytest

from headrace.streams.membership import Membership, usable


def metadata(generation: int, member: str = "member-1", group: str = "g") -> bytes:
    return b"CGMDv2:" + struct.pack("=i", generation) + group.encode() + b"\0" + member.encode() + b"\0\1"


def test_every_assignment_is_a_generation():
    membership = Membership()
    assert membership.generation == 0
    assert membership.advance(metadata(4)) == 1
    assert membership.advance(None) == 2
    assert membership.current.metadata is None


def test_a_refresh_stays_in_the_generation():
    membership = Membership()
    membership.advance(metadata(4))
    membership.refresh(metadata(5))
    assert membership.current.generation == 1
    assert membership.current.metadata == metadata(5)


@pytest.mark.parametrize("bad", [None, b"", b"something else", metadata(-1), metadata(0), metadata(3, member="")])
def test_metadata_that_fences_nothing_is_never_used(bad):
    assert usable(bad) is None
    membership = Membership()
    membership.advance(metadata(4))
    if bad is not None:
        membership.refresh(bad)
        assert membership.current.metadata == metadata(4)
    membership.advance(bad)
    assert membership.current.metadata is None
