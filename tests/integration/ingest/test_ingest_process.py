"""The role `ingest` as a process: what REST and gRPC answer, and what is then in the topics."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.contracts import ingest_pb2, ingest_pb2_grpc
from tests.line_kit import RoleProcess, read_all, running, write_toy
from tests.patience import WAIT_S

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def served(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RoleProcess, str]]:
    folder, name = tmp_path_factory.mktemp("ingest"), kafka.unique("toy")
    pipeline = write_toy(folder / "pipeline", name)
    with running(
        "ingest", "ingest-0", pipeline, folder / "run", kafka.bootstrap_servers, "--max-request-bytes", "4096"
    ) as role:
        role.endpoints()
        yield role, name


def post(
    served: tuple[RoleProcess, str], stream: str, body: bytes, kind: str = "application/json", **headers: str
) -> httpx.Response:
    role, name = served
    url = f"{role.endpoints().endpoints['rest']}/v1/pipelines/{name}/{stream}"
    return httpx.post(url, content=body, headers={"content-type": kind, **headers}, timeout=WAIT_S)


def test_what_rest_has_accepted_is_in_the_topic_as_it_was_sent(served: tuple[RoleProcess, str], kafka: Any) -> None:
    array = b'[{"id":"a","x":1},  {"id": "b", "x": 2.5, "more": null}, {"id":"c"}]'
    answer = post(served, "events", array, traceparent=TRACE)
    assert answer.status_code == 200
    assert answer.json() == {"accepted": 2, "rejected": [{"index": 2, "reason": "Object missing required field `x`"}]}
    assert (
        post(served, "events", b'{"id":"d","x":1}\n\n{"id":"e","x":2}\n', "application/x-ndjson").json()["accepted"]
        == 2
    )
    assert post(served, "events", b'{"id":"f","x":1}').json() == {"accepted": 1, "rejected": []}
    records = {m.key(): m for m in read_all(kafka.bootstrap_servers, f"{served[1]}.events", 2, 5)}
    assert sorted(records) == [b"a", b"b", b"d", b"e", b"f"]
    assert records[b"b"].value() == b'{"id": "b", "x": 2.5, "more": null}'
    assert records[b"a"].headers() == [("traceparent", TRACE.encode())]
    assert records[b"d"].headers() is None


def test_a_number_that_json_does_not_have_is_rejected_by_record_and_field(
    served: tuple[RoleProcess, str], kafka: Any
) -> None:
    lines = b'{"id":"good","x":1}\n{"id":"n","x":NaN}\n{"id":"i","x":1e999}\n'
    assert post(served, "events", lines, "application/x-ndjson").json() == {
        "accepted": 1,
        "rejected": [
            {"index": 1, "reason": "x: NaN, expected a finite number"},
            {"index": 2, "reason": "x: 1e999, expected a finite number"},
        ],
    }
    array = post(served, "events", b'[{"id":"a","x":1},{"id":"n","x":-Infinity}]')
    assert array.status_code == 400
    assert array.json() == {"error": "not JSON: record 1: x: -Infinity, expected a finite number"}
    role, name = served
    with grpc.insecure_channel(role.endpoints().endpoints["grpc"]) as channel:
        request = ingest_pb2.ProduceRequest(
            pipeline=name, stream=ingest_pb2.EVENTS, records=[b'{"id":"n","x":Infinity}']
        )
        answer = ingest_pb2_grpc.IngestStub(channel).Produce(request, timeout=WAIT_S)
    assert [(r.index, r.reason) for r in answer.rejected] == [(0, "x: Infinity, expected a finite number")]


@pytest.mark.parametrize(
    ("stream", "body", "kind", "status"),
    [
        ("events", b"{", "application/json", 400),
        ("events", b"", "application/json", 400),
        ("events", b'{"id":1}', "application/json", 400),
        ("events", b"a,b", "text/csv", 400),
        ("events", b'{"id":"' + b"x" * 5000 + b'"}', "application/json", 413),
        ("rides", b"{}", "application/json", 404),
    ],
)
def test_what_rest_cannot_take_is_answered_with_a_status_and_an_error(
    served: tuple[RoleProcess, str], stream: str, body: bytes, kind: str, status: int
) -> None:
    answer = post(served, stream, body, kind)
    assert answer.status_code == status
    assert answer.json()


def test_rest_documents_itself_and_does_not_serve_other_pipelines(served: tuple[RoleProcess, str]) -> None:
    rest = served[0].endpoints().endpoints["rest"]
    assert "/v1/pipelines/{pipeline}/labels" in httpx.get(f"{rest}/openapi.json").json()["paths"]
    answer = httpx.post(f"{rest}/v1/pipelines/nobody/events", json={})
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


async def test_grpc_takes_batches_and_streams_of_them(served: tuple[RoleProcess, str], kafka: Any) -> None:
    role, name = served
    async with grpc.aio.insecure_channel(role.endpoints().endpoints["grpc"]) as channel:
        stub = ingest_pb2_grpc.IngestStub(channel)
        batch = ingest_pb2.ProduceRequest(pipeline=name, stream=ingest_pb2.LABELS, records=[b'{"id":"a","y":1}', b"{}"])
        answer = await stub.Produce(batch)
        assert (answer.accepted, [r.index for r in answer.rejected]) == (1, [1])

        async def batches() -> Any:
            for n in range(3):
                yield ingest_pb2.ProduceRequest(
                    pipeline=name, stream=ingest_pb2.LABELS, records=[b'{"id":"s%d","y":1}' % n]
                )

        assert [a.accepted async for a in stub.ProduceStream(batches())] == [1, 1, 1]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Produce(ingest_pb2.ProduceRequest(pipeline="nobody", stream=ingest_pb2.EVENTS))
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        health = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="headrace.v1.Ingest")
        )
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    keys = sorted(m.key() for m in read_all(kafka.bootstrap_servers, f"{name}.labels", 2, 4))
    assert keys == [b"a", b"s0", b"s1", b"s2"]


def test_it_stops_in_order_and_withdraws_its_addresses(kafka: Any, tmp_path: Path) -> None:
    pipeline = write_toy(tmp_path / "pipeline", kafka.unique("toy"))
    with running("ingest", "ingest-1", pipeline, tmp_path / "run", kafka.bootstrap_servers) as role:
        role.endpoints()
        assert role.stop() == 0
        assert not role.file.exists()
