"""Answers and errors as bodies with headers."""

import orjson

from services.inference.oip.messages import InferAnswer, OipError, Overloaded
from services.inference.oip.rest_codec import HEADER_LENGTH, BinaryOutputs, compress, render_answer

Headers = list[tuple[bytes, bytes]]

_COMPRESS_FROM = 4096  # bytes; generic clients accept gzip always, and for less it costs more than it saves


def answer_headers(answer: InferAnswer, binary: BinaryOutputs, accepted: str) -> tuple[Headers, bytes]:
    """An answer's headers and body, compressed if the client names one coding, or any and it is worth it.

    Raises:
        OipError: the answer cannot be written as it is wanted.
    """
    body, header_length = render_answer(answer, binary)
    headers: Headers = [(b"content-type", b"application/json")]
    if header_length is not None:
        headers = [(b"content-type", b"application/octet-stream"), (HEADER_LENGTH.encode(), b"%d" % header_length)]
    if accepted and (accepted in ("gzip", "deflate") or len(body) >= _COMPRESS_FROM):
        coding = next((c for c in ("gzip", "deflate") if c in accepted), None)
        if coding is not None:
            body = compress(body, coding)
            headers.append((b"content-encoding", coding.encode()))
    return headers, body


def error_headers(error: OipError) -> tuple[Headers, bytes]:
    """An error's headers and body."""
    headers: Headers = [(b"content-type", b"application/json")]
    if isinstance(error, Overloaded):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    return headers, orjson.dumps({"error": str(error)})
