"""The local protocol's frames."""

import contextlib
import socket

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.weights.errors import WeightsError
from headrace.weights.worker.wire import (
    MAX_FRAME,
    Activate,
    Active,
    Failed,
    Hello,
    Released,
    Retire,
    Stage,
    Staged,
    frame,
    frame_length,
    receive,
    to_agent,
)

text = st.text(max_size=20)
versions = st.integers(0, 2**63 - 1)
seconds = st.dictionaries(text, st.floats(allow_nan=False), max_size=3)
from_workers = st.one_of(
    st.builds(Hello, text, text, text, text, versions, versions, text, st.lists(text, max_size=3)),
    st.builds(Staged, versions, text, seconds),
    st.builds(Active, versions, text, seconds),
    st.builds(Failed, versions, text, text),
    st.builds(Released, text),
)
from_agents = st.one_of(
    st.builds(Stage, versions, text, st.binary(max_size=50), text),
    st.builds(Activate, versions, text),
    st.builds(Retire, text),
)


@given(from_workers)
def test_a_workers_message_survives_its_frame(message):
    """Length, then exactly that many bytes."""
    framed = frame(message)
    assert frame_length(framed[:4]) == len(framed) - 4
    assert to_agent(framed[4:]) == message


@given(st.lists(from_agents, max_size=5))
def test_an_agents_messages_arrive_in_order_however_the_stream_is_cut(messages):
    """And then the end of the stream is an end, also in the middle of a frame."""
    here, there = socket.socketpair()
    with here, there:
        here.sendall(b"".join(map(frame, messages)) + b"\0\0")
        here.shutdown(socket.SHUT_WR)
        assert [receive(there) for _ in messages] == messages
        assert receive(there) is None


@example(b"\x92\xa8Released\xa1\xff")
@given(st.binary(max_size=40))
def test_junk_is_refused_as_such(data):
    """Whatever a stranger sends, the only error is ours."""
    with contextlib.suppress(WeightsError):
        to_agent(data)
    here, there = socket.socketpair()
    with here, there:
        here.sendall(len(data).to_bytes(4, "big") + data)
        here.close()
        with contextlib.suppress(WeightsError):
            receive(there)


def test_a_frame_has_a_greatest_length():
    """A wrong length must not make the reader wait for gigabytes."""
    with pytest.raises(WeightsError, match="bytes"):
        frame_length((MAX_FRAME + 1).to_bytes(4, "big"))


def test_a_later_worker_may_say_more():
    """Fields are added at the end; an older agent ignores them."""
    body = msgspec.msgpack.encode(["Released", "d", "something new"])
    assert to_agent(body) == Released("d")
