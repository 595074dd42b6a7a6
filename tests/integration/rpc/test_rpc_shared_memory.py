"""tritonclient's shared memory utilities against the role `rpc`, through each of its four clients."""

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from tests.integration.rpc.rpc_clients import DATATYPES, NUMPY, TRIP, Client
from tests.integration.rpc.rpc_process import Served

KINDS = ["http", "grpc", "http-aio", "grpc-aio"]
SIZE, OUTPUT_AT = 4096, 2048


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[Client]:
    one = Client(request.param, served.http, served.grpc)
    yield one
    one.unregister_system_shared_memory()
    one.close()


@pytest.fixture
def region(client: Client) -> Iterator[object]:
    key = f"/rpc-test-{client.kind}"
    handle = shm.create_shared_memory_region("all", key, SIZE)
    client.register_system_shared_memory("all", key, SIZE)
    yield handle
    shm.destroy_shared_memory_region(handle)


def test_inputs_and_outputs_in_shared_memory_give_the_same_bytes(client: Client, region: object) -> None:
    trips = [{**TRIP, "distance_km": 1.5 * i, "note": "ü" * i} for i in range(5)]
    plain = client.predict(trips).as_numpy("prediction")
    inputs, at = client.inputs(trips), 0
    for tensor in inputs:
        column = np.array([t[tensor.name()] for t in trips], NUMPY[DATATYPES[tensor.name()]]).reshape(5, 1)
        data = serialize_byte_tensor(column) if tensor.datatype() == "BYTES" else column
        size = len(data.item()) if tensor.datatype() == "BYTES" else data.nbytes
        shm.set_shared_memory_region(region, [data], offset=at)
        tensor.set_shared_memory("all", size, offset=at)
        at += size
    output = client.transport.InferRequestedOutput("prediction")
    output.set_shared_memory("all", plain.nbytes, offset=OUTPUT_AT)

    client.infer("trips", inputs, outputs=[output])

    got = shm.get_contents_as_numpy(region, np.float64, [5, 1], offset=OUTPUT_AT)
    assert got.tobytes() == plain.tobytes()


def test_status_tells_the_region_and_the_server_its_extension(client: Client, region: object) -> None:
    told = client.as_json(client.get_system_shared_memory_status("all"))
    one = told["regions"]["all"] if isinstance(told, dict) else told[0]
    assert (one["name"], one["key"], int(one["byte_size"])) == ("all", f"/rpc-test-{client.kind}", SIZE)
    assert "system_shared_memory" in client.as_json(client.get_server_metadata())["extensions"]
    with pytest.raises(InferenceServerException, match="already in manager"):
        client.register_system_shared_memory("all", "/x", SIZE)


def test_an_output_without_room_is_refused_and_the_region_stays_as_it_was(client: Client, region: object) -> None:
    output = client.transport.InferRequestedOutput("prediction")
    output.set_shared_memory("all", 7)
    with pytest.raises(InferenceServerException, match="should be at least 8 bytes"):
        client.infer("trips", client.inputs([TRIP]), outputs=[output])
    assert not shm.get_contents_as_numpy(region, np.uint8, [SIZE]).any()


@pytest.mark.parametrize("key", ["/../etc/passwd", "../etc/passwd", "/absent"])
def test_what_is_no_shared_memory_object_is_refused(client: Client, key: str) -> None:
    with pytest.raises(InferenceServerException, match="failed to register shared memory region 'bad'"):
        client.register_system_shared_memory("bad", key, 16)


def test_cuda_shared_memory_is_not_supported(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="CUDA shared memory is not supported"):
        client.register_cuda_shared_memory("gpu", b"aGFuZGxl", 0, 16)
