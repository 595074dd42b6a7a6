"""What one process of the load is told, and what it tells: files of msgpack.

When it is connected, a process prints `ready`; it begins at the moment, of the machine's monotonic clock, that it then
reads from its standard input.
"""

from typing import Literal

import msgspec

Form = Literal["grpc", "json", "binary", "tritonclient", "plain", "bytes"]
"""How answers are read: v2 over gRPC, v2 as JSON, v2 with binary tensors, `{"predictions": [...]}`, bytes as sent."""


class Plan(msgspec.Struct, frozen=True):
    """One process's part of a cell."""

    host: str
    port: int
    form: Form
    path: str
    """Of the URL, or of the gRPC method."""
    requests: list[bytes]
    """Bodies, sent in turn. Over HTTP/1.1 with their headers."""
    answers: list[list[float]]
    """Of each request."""
    connections: int
    in_flight: int
    """Requests at once, over all connections."""
    warm_up_s: float
    seconds: float
    rate: float = 0.0
    """Requests/s offered on a schedule, answered or not. 0: the next request follows an answer."""
    spin: bool = False
    """Keep to the schedule by polling the clock, which takes a core."""
    http2: bool = False
    by_version: bool = False
    """Weights change meanwhile: the right answer is the request's answer plus the version that the reply names."""


class Outcome(msgspec.Struct, frozen=True):
    """What one process saw."""

    sent: int
    """In all, warm-up included."""
    answered: int
    """Within the seconds that count."""
    decoded: int
    """Of all, those whose values were compared."""
    failures: int
    first_failure: str
    due_s: bytes
    took_s: bytes
    """Arrays of doubles, of the answers that count: when the request was due or sent, and its latency."""
    cpu_s: float
    """Processor time of this process over all it sent."""
    wall_s: float
    versions: list[int] = []
    """Seen in decoded answers, each once, in order."""
