"""Manifests: one version, one encoding, one digest; nothing contradictory is believed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.weights import Manifest, TensorSpec, check_signature, schema_hash, sign
from headrace.weights.errors import IncompatibleWeights, ManifestError, SignatureError
from headrace.weights.format.chunks import count, digest_of, spans
from headrace.weights.format.manifest import ITEM_SIZES, Delta, Link, content_digest

names = st.text(min_size=1, max_size=12)
counts = st.integers(0, 2**63 - 1)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    specs, position = [], draw(st.integers(0, 64))
    for name in draw(st.lists(names, unique=True, max_size=5)):
        dtype = draw(st.sampled_from(sorted(ITEM_SIZES)))
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
        length = ITEM_SIZES[dtype]
        for side in shape:
            length *= side
        specs.append(TensorSpec(name, dtype, shape, position, position + length))
        position += length
    chunk_size = draw(st.integers(1, 64))
    version = draw(st.integers(1, 2**40))
    chunks = [digest_of(str(i).encode()) for i in range(count(position, chunk_size))]
    links = [
        Link(content_digest(chunks), size, ["a" * 32] * count(size, chunk_size))
        for size in draw(st.lists(st.integers(0, 200), max_size=3))
    ]
    return Manifest(
        model=draw(names),
        version=version,
        base_version=draw(st.integers(0, version - 1)),
        epoch=draw(counts),
        step=draw(counts),
        offsets=draw(st.dictionaries(names, st.dictionaries(st.integers(0, 99), counts, max_size=3), max_size=3)),
        schema_hash=schema_hash((spec.name, spec.dtype, spec.shape) for spec in specs),
        tensors=specs,
        size=position,
        chunk_size=chunk_size,
        chunks=chunks,
        metrics=draw(st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=3)),
        created_at=draw(counts),
        delta=Delta(chunks, links) if links else msgspec.UNSET,
    )


@given(manifests())
def test_a_manifest_survives_its_encoding_with_its_digest(manifest):
    """Decoding gives back the same manifest, and so the same identity."""
    decoded = Manifest.decode(manifest.encode())
    assert decoded == manifest
    assert decoded.digest == manifest.digest


@given(manifests(), st.randoms())
def test_the_encoding_does_not_depend_on_the_order_of_maps(manifest, random):
    """Two trainers that list offsets and metrics in another order name the same checkpoint."""

    def shuffled(of):
        items = list(of.items())
        random.shuffle(items)
        return dict(items)

    other = msgspec.structs.replace(
        manifest,
        offsets=shuffled({topic: shuffled(of) for topic, of in manifest.offsets.items()}),
        metrics=shuffled(manifest.metrics),
    )
    assert other.encode() == manifest.encode()


@given(manifests())
def test_only_the_canonical_form_is_accepted(manifest):
    """The same manifest with a space more would have another digest: it is refused."""
    with pytest.raises(ManifestError, match="canonical"):
        Manifest.decode(manifest.encode() + b" ")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_as_such(data):
    """Whatever arrives, the only error is ManifestError."""
    with pytest.raises(ManifestError):
        Manifest.decode(data)


def make(**changes: object) -> Manifest:
    specs = [TensorSpec("w", "F32", (2, 2), 16, 32), TensorSpec("b", "BF16", (3,), 32, 38)]
    manifest = Manifest(
        model="m",
        version=2,
        base_version=1,
        epoch=1,
        step=5,
        offsets={},
        schema_hash=schema_hash((s.name, s.dtype, s.shape) for s in specs),
        tensors=specs,
        size=38,
        chunk_size=20,
        chunks=["a" * 32, "b" * 32],
        metrics={},
        created_at=0,
    )
    return msgspec.structs.replace(manifest, **changes)


LINK = Link(content_digest(["a" * 32, "b" * 32]), 20, ["d" * 32])


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"model": ""},
        {"version": 0},
        {"base_version": 2},
        {"size": -1},
        {"chunk_size": 0},
        {"chunks": ["a" * 32]},
        {"schema_hash": "0" * 32},
        {"delta": Delta(["a" * 32, "b" * 32], [])},
        {"delta": Delta(["a" * 32], [LINK])},
        {"delta": Delta(["a" * 32, "c" * 32], [LINK])},
        {"delta": Delta(["a" * 32, "b" * 32], [msgspec.structs.replace(LINK, size=21)])},
        {"tensors": [TensorSpec("w", "F32", (2, 2), 16, 33)]},
        {"tensors": [TensorSpec("w", "F32", (2, 2), 30, 46)]},
        {"tensors": [TensorSpec("w", "F32", (-1, -4), 16, 32)]},
        {"tensors": [TensorSpec("w", "F33", (2, 2), 16, 32)]},
        {"tensors": [TensorSpec("w", "F32", (2, 2), 16, 32), TensorSpec("v", "F32", (1,), 28, 32)]},
        {"tensors": [TensorSpec("w", "F32", (1,), 16, 20), TensorSpec("w", "F32", (1,), 20, 24)]},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes):
    """Spans, counts and hashes are checked before anything is allocated or pulled."""
    with pytest.raises(ManifestError, match="not valid"):
        Manifest.decode(make(**changes).encode())


def test_a_manifest_without_a_delta_is_encoded_as_it_was_before_there_were_any():
    """Its digest is on predictions that were made long ago."""
    encoded = (
        b'{"model":"m","version":2,"base_version":1,"epoch":1,"step":5,"offsets":{},"schema_hash":"%s",'
        b'"tensors":[["w","F32",[2,2],16,32],["b","BF16",[3],32,38]],"size":38,"chunk_size":20,'
        b'"chunks":["%s","%s"],"metrics":{},"created_at":0,"format":1}'
    ) % (make().schema_hash.encode(), b"a" * 32, b"b" * 32)
    assert make().encode() == encoded
    assert Manifest.decode(encoded) == make()


def test_a_version_refers_to_all_that_it_may_be_built_from():
    """Its own chunks, its anchor's, and those of every link."""
    assert make().references == {"a" * 32, "b" * 32}
    manifest = make(chunks=["a" * 32, "e" * 32], delta=Delta(["a" * 32, "b" * 32], [LINK]))
    assert Manifest.decode(manifest.encode()).references == {letter * 32 for letter in "abde"}


def test_another_network_is_refused_before_a_byte_is_pulled():
    """The schema hash names every tensor's name, dtype and shape."""
    manifest = make()
    manifest.check_schema(manifest.schema_hash)
    with pytest.raises(IncompatibleWeights, match=r"model\.py"):
        manifest.check_schema(schema_hash([("w", "F32", (2, 3))]))


def test_signatures():
    """With a key, unsigned and wrongly signed manifests are refused; without one, anything passes."""
    encoded = make().encode()
    check_signature(encoded, "", None)
    check_signature(encoded, sign(encoded, b"key"), b"key")
    for signature in ("", sign(encoded, b"other"), sign(encoded + b"x", b"key"), "zz"):
        with pytest.raises(SignatureError):
            check_signature(encoded, signature, b"key")


@given(st.integers(0, 10_000), st.integers(1, 999))
def test_chunks_cover_a_payload_exactly(size, chunk_size):
    """End to end, without gap or overlap, all but the last of full size."""
    cut = list(spans(size, chunk_size))
    assert len(cut) == count(size, chunk_size)
    assert [b for _, b in cut] == [a for a, _ in cut[1:]] + ([size] if cut else [])
    assert all(b - a == chunk_size for a, b in cut[:-1])
    assert all(0 < b - a <= chunk_size for a, b in cut)


def test_two_keys_are_valid_while_they_are_rotated() -> None:
    old, new = b"old", b"new"
    for signed_by, taken_by in ((old, (old, new)), (new, (old, new)), (new, (new, old)), (old, old), (new, new)):
        check_signature(b"manifest", sign(b"manifest", signed_by), taken_by)
    for signed_by, taken_by in ((old, new), (old, (new,)), (b"other", (old, new)), (b"", (old, new))):
        with pytest.raises(SignatureError):
            check_signature(b"manifest", sign(b"manifest", signed_by), taken_by)
