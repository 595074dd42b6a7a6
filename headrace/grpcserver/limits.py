"""What a peer may ask of the server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one peer may hold.

    Attributes:
        max_message_bytes: one message, unpacked.
        max_unfinished_bytes: all messages of a connection that are not complete yet.
        max_header_bytes: one call's headers.
        max_calls: calls of a connection at a time.
        max_cancelled: by how many the calls that a connection cancels may outnumber those that it lets finish.
        max_frame_bytes: one frame.
        stream_window, connection_window: bytes that may be on their way.
        write_timeout_s: seconds for which a peer may leave answers unread.
        preface_timeout_s: seconds within which a peer must say that it speaks HTTP/2.
    """

    max_message_bytes: int = 64 << 20
    max_unfinished_bytes: int = 256 << 20
    max_header_bytes: int = 64 << 10
    max_calls: int = 1000
    max_cancelled: int = 100_000
    max_frame_bytes: int = 1 << 20
    stream_window: int = 4 << 20
    connection_window: int = 64 << 20
    write_timeout_s: float = 30.0
    preface_timeout_s: float = 10.0


DEFAULT_LIMITS = Limits()
