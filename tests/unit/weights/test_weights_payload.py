"""Payloads: every dtype bit for bit, as views over the bytes."""

import pytest
import torch

from headrace.weights.errors import IncompatibleWeights, ManifestError, WeightsError
from headrace.weights.format.checkpoint import load_checkpoint
from headrace.weights.format.payload import DTYPES, dump, layout, view


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist()) if tensor.numel() else b""


@pytest.mark.parametrize("code", sorted(DTYPES))
def test_every_dtype_survives_bit_for_bit(code):
    """Whatever the bits, NaN payloads included: bytes in are bytes out."""
    dtype = DTYPES[code]
    raw = torch.arange(24 * dtype.itemsize, dtype=torch.uint8)
    tensor = raw.remainder(2).bool()[:24] if code == "BOOL" else raw.view(dtype)
    payload = bytearray(dump({"t": tensor.reshape(2, 3, 4), "scalar": tensor[0].clone(), "empty": tensor[:0].clone()}))
    specs = layout(bytes(payload))
    got = view(payload, specs)
    assert {spec.dtype for spec in specs} == {code}
    assert (got["t"].dtype, got["t"].shape) == (dtype, (2, 3, 4))
    assert got["scalar"].shape == ()
    assert got["empty"].shape == (0,)
    assert bits(got["t"]) == bits(tensor)


def test_views_share_the_buffers_memory():
    """No byte is copied: what is written to the buffer is seen in the tensor."""
    payload = bytearray(dump({"t": torch.zeros(4)}))
    (spec,) = layout(bytes(payload))
    tensor = view(payload, [spec])["t"]
    payload[spec.start : spec.end] = torch.ones(4).numpy().tobytes()
    assert tensor.tolist() == [1, 1, 1, 1]


def test_tied_strided_and_sliced_tensors_are_written_out():
    """A state dict may share memory or be laid out oddly; each name gets its own contiguous bytes."""
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "base": base,
        "tied": base,
        "transposed": base.t(),
        "row": base[1],
        "grad": torch.ones(2, requires_grad=True),
    }
    payload = bytearray(dump(state))
    got = view(payload, layout(bytes(payload)))
    assert got.keys() == state.keys()
    assert all(torch.equal(got[name], state[name]) for name in state)


def test_equal_tensors_give_equal_bytes():
    """Chunks are content-addressed: the same weights must be the same chunks."""
    state = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.int64)}
    assert dump(state) == dump({name: state[name].clone() for name in ("a", "b")})


def test_what_is_no_payload_or_no_tensor_is_refused():
    """The header is read with suspicion."""
    for junk in (b"", b"\x10\0\0\0\0\0\0\0notjson", b"\x02\0\0\0\0\0\0\0[]", b'\x07\0\0\0\0\0\0\0{"a":1}'):
        with pytest.raises(ManifestError):
            layout(junk)
    with pytest.raises(IncompatibleWeights, match="complex128"):
        dump({"t": torch.zeros(1, dtype=torch.complex128)})


def test_a_checkpoint_file_is_read_by_prefix(tmp_path):
    """A trainer's file holds more than weights."""
    path = tmp_path / "c.safetensors"
    path.write_bytes(dump({"weights/w": torch.ones(2), "optimizer/w": torch.zeros(2)}))
    checkpoint = load_checkpoint(path, prefix="weights/")
    assert list(checkpoint.tensors) == ["w"]
    for bad, prefix in ((path, "nothing/"), (tmp_path / "absent", "")):
        with pytest.raises(WeightsError):
            load_checkpoint(bad, prefix=prefix)
