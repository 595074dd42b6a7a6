"""ModelInfer from bytes: the same answers as through protobuf's messages, whatever came before."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.contracts.oip import service_pb2 as pb
from headrace.grpcserver import Call, Status
from services.inference.oip.grpc_codec import parse_infer, render_answer
from services.inference.oip.messages import OipError
from services.inference.rpc.grpc.infer import RawInfer
from services.inference.rpc.models.registry import Registry
from tests.unit.inference.rpc.test_rpc_batching import World


class Link:
    """Keeps what a call was answered."""

    peer, max_message = "test", 1 << 20

    def __init__(self) -> None:
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def reply(self, call: Call, message: bytes, trailers: bytes) -> None:
        self.answer.set_result(pb.ModelInferResponse.FromString(message))

    def finish(self, call: Call, trailers: bytes) -> None:
        self.answer.set_result(trailers)


async def by_bytes(raw: RawInfer, message: bytes) -> Any:
    link = Link()
    raw(Call(link, 1, "/ModelInfer", ()), message)  # type: ignore[arg-type]
    return await link.answer


async def by_message(world: World, message: bytes) -> Any:
    try:
        return render_answer(await Registry([world.plane]).infer(parse_infer(pb.ModelInferRequest.FromString(message))))
    except OipError as error:
        return Status[error.grpc], str(error)


def agree(fast: Any, slow: Any) -> None:
    if isinstance(slow, pb.ModelInferResponse):
        assert fast == slow
    else:
        status, details = slow
        assert f"grpc-status{chr(len(str(int(status))))}{int(status)}".encode() in fast
        assert details[:20].split("'")[0].encode() in fast


def bytes_elements(values: Sequence[bytes]) -> bytes:
    return b"".join(len(v).to_bytes(4, "little") + v for v in values)


def message(
    rows: int, *, identifier: str = "", key: bytes = b"k", raw: bool = True, cut: int = 0, model: str = "parts",
    version: str = "", note: bool = False, outputs: Sequence[str] = (), x_first: bool = True, **parameters: int,
) -> bytes:  # fmt: skip
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=identifier)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    tensors = [("x", "FP64", b"\0\0\0\0\0\0\xf8?" * rows), ("key", "BYTES", bytes_elements([key] * rows))]
    if note:
        tensors.append(("note", "BYTES", bytes_elements([b"n"] * rows)))
    for name, datatype, data in tensors if x_first else tensors[::-1]:
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[rows, 1])
        if raw:
            request.raw_input_contents.append(data[: len(data) - cut])
        elif datatype == "FP64":
            tensor.contents.fp64_contents.extend([1.5] * rows)
        else:
            tensor.contents.bytes_contents.extend([key] * rows)
    for name in outputs:
        request.outputs.add(name=name)
    return bytes(request.SerializeToString())


MESSAGES = st.builds(
    message,
    st.integers(1, 3),
    identifier=st.sampled_from(["", "1", "ünï", "x" * 200]),
    key=st.sampled_from([b"", b"k", b"long" * 50, b"\xff"]),
    raw=st.booleans(),
    cut=st.sampled_from([0, 0, 0, 1, 8]),
    model=st.sampled_from(["parts", "parts", "parts", "nope"]),
    version=st.sampled_from(["", "", "1", "2", "x"]),
    note=st.booleans(),
    outputs=st.sampled_from([(), (), ("score",), ("text", "both"), ("nope",)]),
    x_first=st.booleans(),
    priority=st.sampled_from([0, 1, 9]),
)


@settings(max_examples=60)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=12))
def test_bytes_and_messages_get_the_same_answers(messages: list[bytes]) -> None:
    async def run() -> None:
        world = World()
        raw = RawInfer(Registry([world.plane]))
        for _ in range(2):  # the second time by what was learned
            answers = await asyncio.gather(*(by_bytes(raw, m) for m in messages))
            for sent, answer in zip(messages, answers, strict=True):
                agree(answer, await by_message(world, sent))
        world.plane.close()

    asyncio.run(run())


@settings(max_examples=150)
@given(noise=st.binary(max_size=60), at=st.integers(0, 60), splice=st.booleans())
def test_no_bytes_break_it(noise: bytes, at: int, splice: bool) -> None:
    async def run() -> None:
        world = World()
        raw = RawInfer(Registry([world.plane]))
        known = message(1, identifier="i")
        good = await by_bytes(raw, known)
        broken = known[:at] + noise + known[at if splice else at + len(noise) :]
        answer = await by_bytes(raw, broken)
        assert isinstance(answer, bytes | pb.ModelInferResponse)
        assert await by_bytes(raw, known) == good
        world.plane.close()

    asyncio.run(run())


async def test_a_request_like_one_before_is_not_parsed_by_protobuf() -> None:
    world = World()
    raw = RawInfer(Registry([world.plane]))
    await by_bytes(raw, message(1))
    raw._parsed = None  # type: ignore[assignment,method-assign]
    for identifier, key in (("", b"k"), ("7", b"other"), ("8", b"k" * 300)):
        answer = await by_bytes(raw, message(1, identifier=identifier, key=key))
        assert (answer.id, answer.outputs[0].name) == (identifier, "key_length")
    world.plane.close()
