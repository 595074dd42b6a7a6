"""A chunk's digest is the same, whole or piece by piece."""

import os

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.weights.format.chunks import PIECE, RunningDigest, digest_of


@given(st.lists(st.integers(1, PIECE // 2 + 1), min_size=1, max_size=8))
@example([3 * PIECE])
@example([PIECE, PIECE])
def test_a_running_digest_is_the_digest_of_the_whole(pieces):
    """However the bytes come in."""
    data = memoryview(bytearray(sum(pieces)))
    running, filled = RunningDigest(data), 0
    for piece in pieces:
        data[filled : filled + piece] = os.urandom(piece)
        filled += piece
        running.filled(filled)
    assert running.hexdigest() == digest_of(data)
