"""gRPC as it is on the wire: typed and raw contents, the stream, health, reflection."""

import queue
import struct
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from headrace.contracts.oip import service_pb2 as pb
from headrace.contracts.oip.service_pb2_grpc import GRPCInferenceServiceStub
from tests.integration.rpc.rpc_clients import TRIP, Client
from tests.integration.rpc.rpc_process import Served
from tests.integration.rpc.test_rpc_clients import trip
from tests.patience import WAIT_S


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.grpc) as made:
        yield made


def typed() -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="trips")
    contents: dict[str, tuple[str, dict[str, Any]]] = {
        "trip_id": ("BYTES", {"bytes_contents": [b"a"]}),
        "zone": ("INT64", {"int64_contents": [3]}),
        "distance_km": ("FP64", {"fp64_contents": [2.5]}),
        "raining": ("BOOL", {"bool_contents": [True]}),
        "kind": ("BYTES", {"bytes_contents": [b"city"]}),
    }
    for name, (datatype, content) in contents.items():
        request.inputs.add(name=name, datatype=datatype, shape=[1, 1], contents=pb.InferTensorContents(**content))
    return request


def raw() -> pb.ModelInferRequest:
    request = typed()
    for tensor in request.inputs:
        tensor.ClearField("contents")
    text = [struct.pack("<I", len(t)) + t for t in (b"a", b"city")]
    request.raw_input_contents.extend([text[0], struct.pack("<q", 3), struct.pack("<d", 2.5), b"\x01", text[1]])
    return request


def test_typed_and_raw_contents_give_the_same_answer(channel: grpc.Channel, served: Served) -> None:
    stub = GRPCInferenceServiceStub(channel)

    answers = [stub.ModelInfer(request) for request in (typed(), raw())]

    expected = served.by_hand([served.pipeline.model.event_type()("a", 3, 2.5, True, "city")])
    assert [list(struct.unpack("<d", a.raw_output_contents[0])) for a in answers] == [expected, expected]
    assert not answers[0].outputs[0].HasField("contents")


def _both() -> pb.ModelInferRequest:
    request = raw()
    request.inputs[1].contents.int64_contents.append(3)
    return request


def _changed(**changes: Any) -> pb.ModelInferRequest:
    request = raw()
    for index, data in changes.items():
        request.raw_input_contents[int(index[1:])] = data
    return request


def _wrong_field() -> pb.ModelInferRequest:
    request = typed()
    request.inputs[1].contents.fp64_contents.append(3.0)
    return request


def _count(count: int) -> pb.ModelInferRequest:
    request = raw()
    del request.raw_input_contents[count:]
    return request


BAD = {
    "raw and typed together": _both(),
    "too few raw contents": _count(4),
    "a tensor of the wrong size": _changed(_1=b"1234"),
    "text that is cut off": _changed(_0=b"\x09\x00\x00\x00abc"),
    "text that is longer than told": _changed(_0=b"\x01\x00\x00\x00abc"),
    "typed contents in another list": _wrong_field(),
    "a version that is no integer": pb.ModelInferRequest(model_name="trips", model_version="newest"),
    "nothing": pb.ModelInferRequest(model_name="trips"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_contradicts_itself_is_an_invalid_argument(channel: grpc.Channel, case: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        GRPCInferenceServiceStub(channel).ModelInfer(BAD[case])

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT, raised.value.details()


@pytest.mark.parametrize("call", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize(("name", "version"), [("nope", ""), ("trips", "7")])
def test_an_unknown_model_or_version_is_not_found(channel: grpc.Channel, call: str, name: str, version: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        getattr(GRPCInferenceServiceStub(channel), call)(getattr(pb, call + "Request")(name=name, version=version))

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_stream_goes_on_after_an_error(served: Served) -> None:
    answers: queue.Queue = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(served.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        maker = Client("grpc", served.http, served.grpc)
        for i, zone in enumerate((1, 100, 2)):
            client.async_stream_infer("trips", maker.inputs([{**TRIP, "zone": zone}]), request_id=f"r{i}")
        got = [answers.get(timeout=WAIT_S) for _ in range(3)]
        client.stop_stream()
        maker.close()

    assert [error is None for _, error in got] == [True, False, True]
    assert "zone" in str(got[1][1])
    assert [r.get_response().id for r, e in got if e is None] == ["r0", "r2"]
    assert all(r.get_response().parameters["triton_final_response"].bool_param for r, e in got if e is None)


def test_an_error_in_a_stream_echoes_the_id(channel: grpc.Channel) -> None:
    request = pb.ModelInferRequest(model_name="nope", id="r9")

    (answer,) = list(GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request])))

    assert "unknown model" in answer.error_message
    assert answer.infer_response.id == "r9"


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
def test_the_standard_health_service_says_serving(channel: grpc.Channel, service: str) -> None:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_describes_the_service(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
    ]

    listed, described = stub.ServerReflectionInfo(iter(asked))

    names = {s.name for s in listed.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
    files = [FileDescriptorProto.FromString(f) for f in described.file_descriptor_response.file_descriptor_proto]
    assert "ModelInfer" in {m.name for f in files for s in f.service for m in s.method}


def test_a_compressed_request_is_read(served: Served) -> None:
    with tritonclient.grpc.InferenceServerClient(served.grpc) as client:
        maker = Client("grpc", served.http, served.grpc)
        answer = client.infer("trips", maker.inputs([TRIP] * 100), compression_algorithm="gzip")
        maker.close()

    assert np.unique(answer.as_numpy("prediction")).size == 1


def test_a_stream_of_many_requests_is_answered_in_order_and_together(served: Served) -> None:
    answers: queue.Queue = queue.Queue()
    statistics = lambda: Client("grpc", served.http, served.grpc).raw.get_inference_statistics().model_stats[0]  # noqa: E731
    before = statistics()
    with tritonclient.grpc.InferenceServerClient(served.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        maker = Client("grpc", served.http, served.grpc)
        for i in range(300):
            client.async_stream_infer("trips", maker.inputs([{**TRIP, "distance_km": float(i)}]), request_id=f"r{i}")
        client.stop_stream()  # waits for what is in flight
        got = [answers.get(timeout=WAIT_S)[0] for _ in range(300)]
        maker.close()
    after = statistics()

    assert [r.get_response().id for r in got] == [f"r{i}" for i in range(300)]
    trips = [trip(served, **{**TRIP, "distance_km": float(i)}) for i in range(300)]
    assert [r.as_numpy("prediction").item() for r in got] == served.by_hand(trips)
    assert after.inference_count - before.inference_count == 300
    assert after.execution_count - before.execution_count < 300


def test_a_stream_that_its_caller_cancels_leaves_the_server_as_it_was(channel: grpc.Channel) -> None:
    stub, more = GRPCInferenceServiceStub(channel), threading.Event()

    def requests() -> Iterator[pb.ModelInferRequest]:
        for i in range(10):
            yield pb.ModelInferRequest(model_name="nope", id=f"r{i}")
        more.wait(WAIT_S)

    call = stub.ModelStreamInfer(requests())
    assert [next(call).infer_response.id for _ in range(10)] == [f"r{i}" for i in range(10)]
    call.cancel()
    more.set()
    with pytest.raises(grpc.RpcError) as cancelled:
        next(call)
    assert cancelled.value.code() is grpc.StatusCode.CANCELLED
    assert stub.ServerLive(pb.ServerLiveRequest()).live
