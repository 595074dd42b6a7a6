"""The messages between a host's agent and its workers, and their framing.

A frame is a 4-byte big-endian length and that many bytes of MessagePack: one message, an array whose first element is
its type. The conversation over the agent's Unix socket, one connection a worker and model:

    worker → agent   Hello          who I am, which network I want weights for, and what I hold already
    agent → worker   Stage          this slot holds version V: map it, build a shadow network, check it, warm it up
    worker → agent   Staged         V is warm, with the seconds that each step took; or Failed, and why
    agent → worker   Activate       serve V from the next lease on (after its Stage, or of a version held: a rollback)
    worker → agent   Active         V answers; or Failed: the version before goes on answering
    agent → worker   Retire         V, if staged, will not be activated: let it go
    agent → worker   Require        you are behind: be ready again once you serve V, and go on answering meanwhile
    agent → worker   Label          which versions the fleet calls by which label: stable, canary
    agent → worker   Keep           V served before: map it and make it ready, so that requests may name it
    worker → agent   Kept           V may be named; or why not
    worker → agent   Released       V is no longer mapped: its slot may be written again

Who is first to close ends it; the worker goes on serving what it has and connects again. Slots are protected by file
locks and not by this
conversation: losing it, or either end, loses no lease.
"""

import socket
import struct

import msgspec

from headrace.weights.errors import WeightsError

PROTOCOL = 2
"""What a worker of this release understands, told in its `Hello`: 1 is all but `Label` and `Keep`, 0 nor `Require`."""
MAX_FRAME = 64 << 20
_LENGTH = struct.Struct(">I")


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all messages."""


class Hello(Message, frozen=True):
    """A worker introduces itself.

    `holds` are digests of versions mapped, `serving` the one that answers, or "". `required` is the one that it must
    serve before it is ready, or "". `protocol` says which messages it understands. `keeps` is how many versions it
    holds for requests to name, the one that answers among them.
    """

    worker: str
    role: str
    model: str
    schema_hash: str
    pid: int
    version: int = 0
    serving: str = ""
    holds: list[str] = []
    required: str = ""
    protocol: int = 0
    keeps: int = 2


class Stage(Message, frozen=True):
    """A slot holds a version."""

    version: int
    digest: str
    manifest: bytes
    path: str


class Activate(Message, frozen=True):
    """Serve a version from the next lease on."""

    version: int
    digest: str


class Retire(Message, frozen=True):
    """A staged version will not be activated."""

    digest: str


class Require(Message, frozen=True):
    """The worker is not ready until it serves a version; nothing else changes for it.

    One that serves it is ready at once.
    """

    version: int
    digest: str


class Label(Message, frozen=True):
    """What the fleet calls its versions: digests by label. A version that has none is in it no more."""

    digests: dict[str, str]


class Keep(Message, frozen=True):
    """A slot holds a version that served before."""

    version: int
    digest: str
    manifest: bytes
    path: str


class Kept(Message, frozen=True):
    """A version may be named by requests; not where there is an `error`, which changes nothing else."""

    version: int
    digest: str
    error: str = ""


class Staged(Message, frozen=True):
    """A version is mapped, checked and warm."""

    version: int
    digest: str
    seconds: dict[str, float]


class Active(Message, frozen=True):
    """A version answers."""

    version: int
    digest: str
    seconds: dict[str, float]


class Failed(Message, frozen=True):
    """A version could not be staged or activated; the one before goes on answering.

    `while_serving`: it was activated, and the worker found that it cannot serve it.
    """

    version: int
    digest: str
    error: str
    while_serving: bool = False


class Released(Message, frozen=True):
    """A version is no longer mapped."""

    digest: str


ToAgent = Hello | Staged | Active | Failed | Kept | Released
ToWorker = Stage | Activate | Retire | Require | Label | Keep

_ENCODER = msgspec.msgpack.Encoder()
_TO_AGENT = msgspec.msgpack.Decoder(ToAgent)
_TO_WORKER = msgspec.msgpack.Decoder(ToWorker)


def frame(message: ToAgent | ToWorker) -> bytes:
    """Return the message's frame."""
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


def frame_length(head: bytes) -> int:
    """Return the body's length from a frame's first four bytes.

    Raises:
        WeightsError: no peer of ours sends such a length.
    """
    length: int = _LENGTH.unpack(head)[0]
    if length > MAX_FRAME:
        raise WeightsError(f"a frame of {length} bytes on the agent's socket, at most {MAX_FRAME} are allowed")
    return length


def to_agent(body: bytes) -> ToAgent:
    """Decode a frame's body as a worker's message.

    Raises:
        WeightsError: it is none.
    """
    try:
        message: ToAgent = _TO_AGENT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"not a worker's message: {error}") from error
    return message


def receive(sock: socket.socket) -> ToWorker | None:
    """Block for the agent's next message; None when it has closed the connection.

    Raises:
        OSError: the connection broke.
        WeightsError: the bytes are no message.
    """
    head = _exactly(sock, _LENGTH.size)
    if not head:
        return None
    body = _exactly(sock, frame_length(head))
    try:
        message: ToWorker = _TO_WORKER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"not an agent's message: {error}") from error
    return message


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            return b""
        data += part
    return bytes(data)
