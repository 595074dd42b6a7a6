"""What a version is: its lineage, its tensors and the chunks that hold them.

A manifest is the pointer that events carry. Its canonical encoding is JSON without spaces, fields as declared, maps
sorted; the xxh3_128 digest of that encoding is the checkpoint's identity, on every prediction. Decoding accepts nothing
but the canonical form, so one manifest has one digest and one signature.
"""

import hashlib
import hmac
import math
from collections.abc import Iterable
from itertools import pairwise

import msgspec

from headrace.weights.errors import IncompatibleWeights, ManifestError, SignatureError
from headrace.weights.format.chunks import count, digest_of

FORMAT = 1


class TensorSpec(msgspec.Struct, frozen=True, array_like=True):
    """One tensor: its name, safetensors dtype, shape, and its bytes [start, end) within the payload."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Link(msgspec.Struct, frozen=True, array_like=True):
    """A step from one payload to the next.

    A patch set (`headrace.weights.format.patches`), cut into chunks like a payload.

    Attributes:
        base: `content_digest` of the chunks of the payload that it goes on from.
        size: bytes of the patch set.
        chunks: the patch set's chunks, in order.
    """

    base: str
    size: int
    chunks: list[str]


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """How a version is built where its own chunks are not all in the stores: its anchor, then every link in turn.

    Attributes:
        anchor: the chunks of the version that the chain begins with, all of them in the stores; its layout is the same.
        links: the steps from there to this version, one at least.
    """

    anchor: list[str]
    links: list[Link]

    @property
    def size(self) -> int:
        """Bytes of all links."""
        return sum(link.size for link in self.links)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of a model's weights, by reference.

    Attributes:
        model: the model's name.
        version: rises with every checkpoint of the model; the first is 1.
        base_version: the version that training went on from; 0 for the first.
        epoch: the trainer's fencing epoch.
        step: optimizer steps taken.
        offsets: topic → partition → next offset to read; everything below is contained in the weights.
        schema_hash: `schema_hash` of the tensors.
        tensors: where each tensor lies in the payload.
        size: bytes of the payload.
        chunk_size: bytes of every chunk but the last.
        chunks: the chunks' digests, in order.
        metrics: the trainer's figures for this version, finite ones only.
        created_at: microseconds since the epoch.
        format: version of this schema.
        delta: how to build the payload from an earlier one; unset for an anchor, whose chunks are all in the stores.
            Whichever way it was built, `chunks` says what it must be.
    """

    model: str
    version: int
    base_version: int
    epoch: int
    step: int
    offsets: dict[str, dict[int, int]]
    schema_hash: str
    tensors: list[TensorSpec]
    size: int
    chunk_size: int
    chunks: list[str]
    metrics: dict[str, float]
    created_at: int
    format: int = FORMAT
    delta: Delta | msgspec.UnsetType = msgspec.UNSET

    def encode(self) -> bytes:
        """Return the canonical encoding."""
        offsets = {topic: dict(sorted(self.offsets[topic].items())) for topic in sorted(self.offsets)}
        metrics = dict(sorted(self.metrics.items()))
        return _ENCODER.encode(msgspec.structs.replace(self, offsets=offsets, metrics=metrics))

    @property
    def digest(self) -> str:
        """The checkpoint's identity: 32 hex characters."""
        return digest_of(self.encode())

    @property
    def references(self) -> set[str]:
        """The chunks that must stay in the stores for as long as this version is kept."""
        found = set(self.chunks)
        if self.delta:
            found.update(self.delta.anchor, *(link.chunks for link in self.delta.links))
        return found

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """Decode and check the canonical encoding.

        Raises:
            ManifestError: not JSON of this schema, not canonical, of a later format, or contradictory.
        """
        try:
            manifest = _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ManifestError(f"not a manifest of format {FORMAT}: {error}") from error
        if manifest.encode() != bytes(data):
            raise ManifestError(f"the manifest of {manifest.model} version {manifest.version} is not in canonical form")
        manifest.check()
        return manifest

    def check(self) -> None:
        """Raise `ManifestError` if the parts do not add up: nothing else may trust them before."""
        problem = self._problem()
        if problem:
            raise ManifestError(f"the manifest of {self.model!r} version {self.version} is not valid: {problem}")

    def _problem(self) -> str:
        if self.format != FORMAT:
            return f"format {self.format}, this release reads {FORMAT}"
        if not self.model or self.version < 1 or not 0 <= self.base_version < self.version:
            return f"model {self.model!r}, version {self.version}, base version {self.base_version}"
        if self.size < 0 or self.chunk_size < 1 or len(self.chunks) != count(self.size, self.chunk_size):
            return f"{len(self.chunks)} chunks of {self.chunk_size} bytes cannot hold {self.size} bytes"
        return self._problem_with_tensors() or self._problem_with_delta()

    def _problem_with_delta(self) -> str:
        if not self.delta:
            return ""
        if not self.delta.links or len(self.delta.anchor) != len(self.chunks):
            return f"a delta of {len(self.delta.links)} links from an anchor of {len(self.delta.anchor)} chunks"
        if self.delta.links[0].base != content_digest(self.delta.anchor):
            return "its first link does not go on from the anchor"
        if any(link.size < 0 or len(link.chunks) != count(link.size, self.chunk_size) for link in self.delta.links):
            return "a link's chunks cannot hold its bytes"
        return ""

    def _problem_with_tensors(self) -> str:
        ordered = sorted(self.tensors, key=lambda spec: (spec.start, spec.end))
        for spec in ordered:
            if spec.dtype not in ITEM_SIZES or any(side < 0 for side in spec.shape):
                return f"tensor {spec.name!r} has dtype {spec.dtype!r} and shape {spec.shape}"
            length = math.prod(spec.shape) * ITEM_SIZES[spec.dtype]
            if spec.start < 0 or spec.end > self.size or spec.end - spec.start != length:
                return f"tensor {spec.name!r} of {length} bytes spans [{spec.start}, {spec.end}) of {self.size}"
        if any(left.end > right.start for left, right in pairwise(ordered)):
            return "tensors overlap"
        if len({spec.name for spec in self.tensors}) != len(self.tensors):
            return "two tensors have one name"
        if self.schema_hash != schema_hash((spec.name, spec.dtype, spec.shape) for spec in self.tensors):
            return "the schema hash is not that of the tensors"
        return ""

    def check_schema(self, expected: str) -> None:
        """Raise `IncompatibleWeights` unless a network whose schema hash is ``expected`` can take these tensors."""
        if expected != self.schema_hash:
            raise IncompatibleWeights(
                f"{self.model} version {self.version} has the schema {self.schema_hash}, the network wants {expected}",
                hint="The trainer's and the worker's model.py differ: restart both on the same pipeline folder.",
            )


ITEM_SIZES: dict[str, int] = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ"), 1),
}
"""Bytes an element, by safetensors dtype."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Manifest)


def schema_hash(specs: Iterable[tuple[str, str, tuple[int, ...]]]) -> str:
    """Return the digest of ``(name, dtype, shape)`` of all tensors, whatever their order."""
    return digest_of(msgspec.json.encode(sorted(specs)))


def content_digest(chunks: Iterable[str]) -> str:
    """Return the digest of a payload, whatever version it is, from those of its chunks."""
    return digest_of(",".join(chunks).encode())


def sign(encoded: bytes, key: bytes) -> str:
    """Return the hex HMAC-SHA256 of an encoded manifest."""
    return hmac.new(key, encoded, hashlib.sha256).hexdigest()


Keys = bytes | tuple[bytes, ...] | None
"""A key, or several that are valid at the same time, as while keys are rotated; the first is one's own."""


def valid_keys(keys: Keys) -> tuple[bytes, ...]:
    """The keys one by one; empty where there is none."""
    return tuple(key for key in ((keys,) if isinstance(keys, bytes) else keys or ()) if key)


def check_signature(encoded: bytes, signature: str, keys: Keys) -> None:
    """Raise `SignatureError` if a key is set and the signature is of none of them; without a key anything passes."""
    valid = valid_keys(keys)
    if not valid:
        return
    if not signature:
        raise SignatureError(
            "the manifest is unsigned, and a manifest key is set",
            hint="Give the trainer the same manifest key.",
        )
    if not any(hmac.compare_digest(sign(encoded, key), signature) for key in valid):
        raise SignatureError(
            "the manifest's signature is not that of the configured key",
            hint="Trainer and agents must have the same manifest key.",
        )
