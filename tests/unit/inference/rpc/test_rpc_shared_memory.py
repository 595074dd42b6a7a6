"""System shared memory: what a request may reach, and that the answers are those of requests without it."""

import asyncio
import os
import resource
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.contracts.oip import service_pb2 as pb
from services.inference.oip import grpc_codec, rest_codec
from services.inference.oip.messages import AlreadyExists, InvalidRequest, OipError, Unsupported
from services.inference.oip.shared_memory import Regions
from services.inference.rpc.batching.batcher import BatchLimits
from services.inference.rpc.service import DataPlane
from tests.unit.inference.rpc.test_rpc_batching import World
from tests.unit.inference.rpc.test_rpc_raw_infer import bytes_elements

X, KEYS = bytes.fromhex("000000000000f83f") * 2, bytes_elements([b"k", b"longer"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shm").mkdir()
    (tmp_path / "shm" / "data").write_bytes(bytes(range(64)))
    (tmp_path / "outside").write_bytes(b"secret" * 100)
    return tmp_path / "shm"


@pytest.fixture
def regions(root: Path) -> Regions:
    return Regions(4, root=root)


def test_a_region_is_told_until_it_is_unregistered(regions: Regions) -> None:
    regions.register("r", "/data", 8, 16)
    told = {"name": "r", "key": "/data", "offset": 8, "byte_size": 16}

    assert regions.status() == regions.status("r") == [told]
    with pytest.raises(AlreadyExists, match="'r' already in manager"):
        regions.register("r", "/data", 8, 16)
    regions.unregister("r")
    regions.unregister("r")
    assert regions.status() == []
    with pytest.raises(InvalidRequest, match="Unable to find shared memory region: 'r'"):
        regions.status("r")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        ".",
        "..",
        "/..",
        "../outside",
        "/../outside",
        "a/b",
        "//data",
        "/folder/x",
        "da\0ta",
        "x" * 256,
        7,
        None,
    ],
)
def test_no_path_is_followed(root: Path, regions: Regions, key: Any) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "x").write_bytes(b"x" * 10)
    with pytest.raises(InvalidRequest, match="is not a name in /dev/shm"):
        regions.register("r", key, 0, 4)


def test_only_files_are_opened(root: Path, regions: Regions) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    for key in ("link", "folder", "pipe", "absent"):
        with pytest.raises(InvalidRequest, match=f"region 'r'.*'{key}'"):
            regions.register("r", key, 0, 4)
    assert regions.status() == []


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 0), (0, 65), (1, 64), (64, 1), (-1, 4), (0, -1), (0, 2**63), (True, 4), (0, "4"), (0.0, 4)]
)
def test_a_region_must_be_inside_its_file(regions: Regions, offset: Any, size: Any) -> None:
    with pytest.raises(InvalidRequest, match="shared memory region 'r'"):
        regions.register("r", "data", offset, size)


def test_the_number_of_regions_is_bounded_and_none_is_off(regions: Regions) -> None:
    for i in range(4):
        regions.register(str(i), "data", 0, 4)
    with pytest.raises(InvalidRequest, match="there are 4 regions already"):
        regions.register("5", "data", 0, 4)
    for use in (
        lambda: Regions(0).register("r", "data", 0, 4),
        lambda: Regions(0).place("x", {"shared_memory_region": "r"}),
    ):
        with pytest.raises(Unsupported, match="--shared-memory-regions is 0"):
            use()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_are_closed_with_the_last_user(regions: Regions) -> None:
    before = open_files()
    regions.register("r", "data", 0, 64)
    place = regions.place("input", {"shared_memory_region": "r", "shared_memory_byte_size": 4})
    regions.unregister()
    assert place is not None
    assert place.read("input") == bytes(range(4))
    del place
    assert open_files() == before


EDGES = st.sampled_from([0, 1, 8, 15, 16, 17, 64, 2**31, 2**63 - 1, 2**63, -1]) | st.integers()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=EDGES, size=EDGES)
def test_no_request_reads_outside_its_region(regions: Regions, offset: int, size: int) -> None:
    regions.unregister()
    regions.register("r", "data", 8, 16)
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": size, "shared_memory_offset": offset}
    inside = offset >= 0 and size >= 0 and offset + size <= 16
    if not inside:
        with pytest.raises(InvalidRequest, match="input 'x'"):
            regions.place("input 'x'", parameters)
        return
    place = regions.place("input 'x'", parameters)
    assert place is not None
    assert place.read("input 'x'") == bytes(range(8 + offset, 8 + offset + size))


class Served:
    """A data plane whose inputs and outputs may be in a file."""

    def __init__(self, root: Path) -> None:
        world, self.file = World(), root / "both"
        self.file.write_bytes(bytes(512))
        self.plane = DataPlane("parts", world.model, world.weights, BatchLimits(), max_batch=64)
        self.regions = Regions(2, root=root)
        self.regions.register("r", "/both", 0, 512)
        self.put(0, X)
        self.put(100, KEYS)

    def put(self, at: int, data: bytes) -> None:
        with self.file.open("r+b") as file:
            file.seek(at)
            file.write(data)


INPUTS = [("x", "FP64", X, 0), ("key", "BYTES", KEYS, 100)]


def shared(size: int, offset: int, region: str = "r") -> dict[str, Any]:
    return {"shared_memory_region": region, "shared_memory_byte_size": size, "shared_memory_offset": offset}


def by_grpc(*, shm: str, outputs: dict[str, dict[str, Any]]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="parts", id="7")
    for name, datatype, data, at in INPUTS:
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[2, 1])
        if name in shm:
            fill(tensor, shared(len(data), at))
        else:
            request.raw_input_contents.append(data)
    for name, parameters in outputs.items():
        fill(request.outputs.add(name=name), parameters)
    return request


def fill(tensor: Any, parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        setattr(tensor.parameters[name], "string_param" if isinstance(value, str) else "int64_param", value)


async def infer_grpc(served: Served, **how: Any) -> pb.ModelInferResponse:
    parsed = grpc_codec.parse_infer(by_grpc(**how), served.regions)
    return grpc_codec.render_answer(await served.plane.infer(parsed))


async def infer_rest(served: Served, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    body, plane = orjson.dumps({"inputs": inputs, "outputs": outputs}), served.plane
    parsed, binary = rest_codec.parse_infer("parts", "", body, None, plane.inputs, regions=served.regions)
    return dict(orjson.loads(rest_codec.render_answer(await plane.infer(parsed), binary)[0]))


@pytest.mark.parametrize("shm", ["x", "key", "x key"])
async def test_grpc_answers_are_the_same_bytes_with_and_without_shared_memory(root: Path, shm: str) -> None:
    served = Served(root)
    plain = await infer_grpc(served, shm="", outputs={"score": {}, "text": {}})
    answer = await infer_grpc(served, shm=shm, outputs={"score": shared(64, 200), "text": shared(60, 300)})

    for tensor, at, raw in zip(answer.outputs, (200, 300), plain.raw_output_contents, strict=True):
        told = {n: p.string_param or p.int64_param for n, p in tensor.parameters.items()}
        assert told == shared(len(raw), at)
        assert served.file.read_bytes()[at : at + len(raw) + 8] == raw + bytes(8)
    assert list(answer.raw_output_contents) == [b"", b""]
    assert (answer.id, served.plane.statistics.success.count) == ("7", 2)
    served.plane.close()


async def test_rest_answers_are_the_same_bytes_with_and_without_shared_memory(root: Path) -> None:
    served = Served(root)
    at = [{"name": n, "datatype": d, "shape": [2, 1], "parameters": shared(len(b), o)} for n, d, b, o in INPUTS]
    plain = [
        {"name": "x", "datatype": "FP64", "shape": [2, 1], "data": [1.5, 1.5]},
        {"name": "key", "datatype": "BYTES", "shape": [2, 1], "data": ["k", "longer"]},
    ]
    expected = await infer_rest(served, plain, [{"name": "text"}, {"name": "score"}])
    answer = await infer_rest(served, at, [{"name": "text", "parameters": shared(60, 300)}, {"name": "score"}])

    raw = bytes_elements([v.encode() for v in expected["outputs"][0]["data"]])
    assert answer["outputs"][0]["parameters"] == shared(len(raw), 300)
    assert "data" not in answer["outputs"][0]
    assert served.file.read_bytes()[300 : 300 + len(raw)] == raw
    assert answer["outputs"][1] == expected["outputs"][1]
    served.plane.close()


async def test_an_output_that_is_too_large_is_an_error_and_nothing_is_written(root: Path) -> None:
    served = Served(root)
    before = served.file.read_bytes()
    with pytest.raises(InvalidRequest, match=r"output 'text' \(3 bytes\) should be at least \d+ bytes"):
        await infer_grpc(served, shm="x", outputs={"score": shared(16, 200), "text": shared(3, 300)})
    assert served.file.read_bytes() == before
    assert served.plane.statistics.fail.count == 1
    served.plane.close()


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        (shared(16, 0, "nope"), "input 'x': Unable to find shared memory region: 'nope'"),
        (shared(16, 500), "input 'x': 16 bytes at offset 500 of shared memory region 'r', which has 512 bytes"),
        (shared(8, 0), "8 bytes where 2 elements of FP64 take 16"),
        ({"shared_memory_region": "r"}, "'shared_memory_byte_size' and 'shared_memory_offset' must be integers"),
        ({**shared(16, 0), "shared_memory_byte_size": "16"}, "must be integers of 0 or more"),
    ],
)
async def test_an_input_that_is_not_there_is_an_error(root: Path, parameters: dict[str, Any], error: str) -> None:
    served = Served(root)
    key = {"name": "key", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}
    with pytest.raises(OipError, match=error):
        await infer_rest(
            served, [{"name": "x", "datatype": "FP64", "shape": [2, 1], "parameters": parameters}, key], []
        )
    served.plane.close()


async def test_a_file_that_became_shorter_is_an_error_for_its_request_alone(root: Path) -> None:
    served = Served(root)
    os.truncate(served.file, 8)
    with pytest.raises(InvalidRequest, match=r"input 'x': the file of shared memory region 'r'.*has become shorter"):
        await infer_grpc(served, shm="x", outputs={})
    with pytest.raises(InvalidRequest, match="output 'score': the file of shared memory region 'r'"):
        await infer_grpc(served, shm="", outputs={"score": shared(16, 200)})
    assert served.file.stat().st_size == 8
    assert (await infer_grpc(served, shm="", outputs={"score": {}})).outputs[0].shape == [2, 1]
    served.plane.close()


async def test_a_file_that_cannot_be_written_is_an_error_for_its_request_alone(root: Path) -> None:
    served, limits = Served(root), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (208, limits[1]))  # as if there were no memory left
    try:
        with pytest.raises(
            InvalidRequest, match=r"output 'score': shared memory region 'r', key '/both'.*File too large"
        ):
            await infer_grpc(served, shm="x", outputs={"score": shared(16, 208)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert served.file.read_bytes()[200:] == bytes(312)
    served.plane.close()


async def test_a_region_may_be_unregistered_while_requests_use_it(root: Path) -> None:
    served = Served(root)
    requests = [
        asyncio.create_task(infer_grpc(served, shm="x", outputs={"score": shared(16, 200 + 16 * i)})) for i in range(8)
    ]
    await asyncio.sleep(0)
    served.regions.unregister()
    await asyncio.gather(*requests)
    assert len({served.file.read_bytes()[200 + 16 * i : 216 + 16 * i] for i in range(8)} - {bytes(16)}) == 1
    with pytest.raises(InvalidRequest, match="Unable to find"):
        await infer_grpc(served, shm="x", outputs={})
    served.plane.close()
