"""Answers and errors as bodies with headers.

Of answers whose outputs are all bytes, the JSON before and behind the id is that of one before, and remembered.
"""

from collections.abc import Callable

import orjson

from services.inference.oip.messages import InferAnswer, OipError, Overloaded
from services.inference.oip.rest_codec import HEADER_LENGTH, BinaryOutputs, compress, render_answer

Headers = list[tuple[bytes, bytes]]
Render = Callable[[InferAnswer, BinaryOutputs], tuple[bytes, int | None]]

_COMPRESS_FROM = 4096  # bytes; generic clients accept gzip always, and for less it costs more than it saves
_KNOWN = 512


def answer_headers(
    answer: InferAnswer, binary: BinaryOutputs, accepted: str, render: Render = render_answer
) -> tuple[Headers, bytes]:
    """An answer's headers and body, compressed if the client names one coding, or any and it is worth it.

    Raises:
        OipError: the answer cannot be written as it is wanted.
    """
    body, header_length = render(answer, binary)
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


class BinaryAnswers:
    """Writes answers; remembers their JSON. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[bytes, bytes]] = {}

    def render(self, answer: InferAnswer, binary: BinaryOutputs) -> tuple[bytes, int | None]:
        """As `services.inference.oip.rest_codec.render_answer`.

        Raises:
            OipError: the answer cannot be written as it is wanted.
        """
        outputs = answer.outputs
        if answer.parameters or not all(binary.wants(t.name) and t.placed is None for t in outputs):
            return render_answer(answer, binary)
        raws = [tensor.raw() for tensor in outputs]
        shapes = ((t.name, *t.shape, len(raw)) for t, raw in zip(outputs, raws, strict=True))
        key = (answer.model, answer.version, answer.checkpoint, *shapes)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            known = self._known[key] = _around_id(answer, binary)
        before, behind = known
        named = b'"id":' + orjson.dumps(answer.id) + b"," if answer.id else b""
        return b"".join((before, named, behind, *raws)), len(before) + len(named) + len(behind)


def _around_id(answer: InferAnswer, binary: BinaryOutputs) -> tuple[bytes, bytes]:
    without = InferAnswer(answer.model, answer.version, answer.checkpoint, answer.outputs)
    body, length = render_answer(without, binary)
    start = orjson.dumps({"model_name": answer.model, "model_version": str(answer.version)})[:-1] + b","
    return start, body[len(start) : length]
