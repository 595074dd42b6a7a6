"""Telling right answers from wrong ones."""

import json
import math
import struct
from collections.abc import Sequence

from benchmarks.serving.load.plan import Form

EVERY = 100
"""Of so many answers one is decoded and compared; the first of each request is too."""
_TOLERANCE = 1e-4
"""Relative and absolute: a batch of another size sums in another order."""


class WrongAnswer(Exception):  # noqa: N818 - what it is
    """An answer that is not the right one; the message says how."""


class Checker:
    """Checks the answers to some requests.

    Args:
        form: how answers are read.
        answers: the right values of each request.
        by_version: the right values are those plus the version that the answer names.
    """

    def __init__(self, form: Form, answers: Sequence[Sequence[float]], *, by_version: bool = False) -> None:
        self._form, self._answers, self._by_version = form, answers, by_version
        self._lengths: dict[int, int] = {}
        self._slack = (
            16
            if by_version
            else 0
            if form in ("grpc", "binary", "tritonclient", "bytes")
            else 24 * max(map(len, answers))
        )
        self._count = 0
        self.decoded = 0
        self.versions: list[int] = []

    def check(self, request: int, body: bytes, head_length: int = 0) -> None:
        """Compare the length, and of some answers the values.

        Args:
            request: the request's number.
            body: the answer without its transport's headers.
            head_length: bytes of JSON before the binary tensors.

        Raises:
            WrongAnswer: it is not right.
        """
        self._count += 1
        known = self._lengths.get(request)
        if known is None or self._count % EVERY == 0:
            self._lengths[request] = len(body)
            self._compare(request, body, head_length)
        elif abs(known - len(body)) > self._slack:
            raise WrongAnswer(f"{len(body)} bytes where {known} were right: {body[:200]!r}")

    def _compare(self, request: int, body: bytes, head_length: int) -> None:
        self.decoded += 1
        try:
            values, version = decode(self._form, body, head_length)
        except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
            raise WrongAnswer(f"not an answer ({error!r}): {body[:200]!r}") from error
        if self._form == "bytes":
            return
        right = self._answers[request]
        if self._by_version:
            right = [value + version for value in right]
            if not self.versions or self.versions[-1] != version:
                self.versions.append(version)
        close = (
            math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) for a, b in zip(values, right, strict=False)
        )
        if len(values) != len(right) or not all(close):
            raise WrongAnswer(f"answered {values[:4]} where {list(right)[:4]} is right (version {version})")


def decode(form: Form, body: bytes, head_length: int = 0) -> tuple[Sequence[float], int]:
    """The values of the one output, and the version that answered (0 where the form has none)."""
    if form == "grpc":
        return _decode_grpc(body)
    if form == "bytes":
        return (), 0
    answer = json.loads(body[:head_length] if head_length else body)
    if form == "plain":
        return answer["predictions"], 0
    version = int(answer.get("model_version") or 0)
    (output,) = answer["outputs"]
    if form == "json":
        return output["data"], version
    return _numbers(output["datatype"], body[head_length:]), version


def _decode_grpc(body: bytes) -> tuple[Sequence[float], int]:
    """Read a ModelInferResponse."""
    from headrace.contracts.oip import service_pb2 as pb

    answer = pb.ModelInferResponse.FromString(body)
    (output,) = answer.outputs
    if answer.raw_output_contents:
        values: Sequence[float] = _numbers(output.datatype, answer.raw_output_contents[0])
    else:
        values = list(output.contents.fp64_contents) or list(output.contents.fp32_contents)
    return values, int(answer.model_version or 0) if answer.model_version.isdigit() else 0


def _numbers(datatype: str, raw: bytes) -> Sequence[float]:
    size, code = {"FP64": (8, "d"), "FP32": (4, "f")}[datatype]
    return struct.unpack(f"<{len(raw) // size}{code}", raw)
