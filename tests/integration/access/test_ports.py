"""Every port of every role with --auth required: each wrong credential is refused, and nothing is done."""

import json
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import msgspec
import pytest
import torch
from confluent_kafka import TopicPartition
from safetensors.torch import save_file

from headrace.contracts.access import AuditEntry, Scope
from headrace.contracts.oip import service_pb2, service_pb2_grpc
from headrace.contracts.topics import AUDIT, EVENTS, LABELS
from headrace.model.pipeline import load_pipeline
from headrace.runtime import kafka as clients
from headrace.runtime.access.key_topic import write_key
from headrace.runtime.access.keys import make_key
from headrace.runtime.settings import ServiceSettings
from headrace.security.certificates import Authority, Pair
from tests.integration.rpc.rpc_process import FOLDER, start
from tests.patience import WAIT_S, wait_for

TRIP = {"trip_id": "t1", "zone": 3, "distance_km": 2.5, "raining": True, "kind": "city"}
ROLES = {"ingest": ("ingest", 3), "rpc": ("inference.rpc", 3), "monitor": ("monitor", 2), "gateway": ("gateway", 2)}


@dataclass
class World:
    """The roles that answer, behind TLS and keys."""

    settings: ServiceSettings
    name: str
    authority: Authority
    endpoints: dict[str, dict[str, str]]
    keys: dict[Scope, str]
    client: httpx.Client

    def ask(self, role: str, method: str, path: str, key: str = "", body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.client.request(method, self.endpoints[role]["rest"] + path, headers=headers, json=body)

    def ends(self, topic: str) -> dict[int, int]:
        consumer = clients.consumer(self.settings, "look")
        try:
            return dict(clients.end_offsets(consumer, topic, range(clients.partitions_of(consumer, topic))))
        finally:
            consumer.close()


@pytest.fixture(scope="module")
def world(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, name = tmp_path_factory.mktemp("ports"), kafka.unique("trips")
    shutil.copytree(FOLDER, folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    spec = folder / "pipeline" / "pipeline.yaml"
    spec.write_text(spec.read_text().replace("name: trips", f"name: {name}"))
    torch.manual_seed(11)
    save_file(load_pipeline(folder / "pipeline").model.network().state_dict(), folder / "weights.safetensors")
    settings = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers, instance="test")
    keys = {}
    for scope in Scope:
        keys[scope], record = make_key(f"{name} {scope.value}", (scope,))
        write_key(settings, record)
    authority = Authority(folder / "authority")
    processes, endpoints = [], {}
    with pytest.MonkeyPatch.context() as patch, httpx.Client(verify=_trusting(authority), timeout=WAIT_S) as client:
        for variable, value in _environment(authority.pair("server"), authority, keys[Scope.ADMIN]).items():
            patch.setenv(variable, value)
        try:
            for role, (service, wanted) in ROLES.items():
                flags = ["--kafka-bootstrap-servers", kafka.bootstrap_servers]
                flags += ["--weights", str(folder / "weights.safetensors")] if role == "rpc" else []
                process, found = start(
                    folder, *flags, pipeline=folder / "pipeline", service=service, role=role, wanted=wanted
                )
                processes.append(process)
                endpoints[role] = found
            yield World(settings, name, authority, endpoints, keys, client)
        finally:
            for process in processes:
                _end(process)


def _environment(pair: Pair, authority: Authority, key: str) -> dict[str, str]:
    return {
        "HEADRACE_AUTH": "required",
        "HEADRACE_TLS_CERT": str(pair.certificate),
        "HEADRACE_TLS_KEY": str(pair.key),
        "HEADRACE_TLS_CA": str(authority.file),
        "HEADRACE_API_KEY": key,
    }


def _trusting(authority: Authority) -> Any:

    return ssl.create_default_context(cafile=authority.file)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_S)


def operations(world: World, role: str) -> list[tuple[str, str]]:
    """Methods and paths of a role's own documentation."""
    if role == "monitor":  # it has no documentation
        return [("GET", "/v1/snapshot")]
    document = world.ask(role, "GET", "/openapi.json", world.keys[Scope.ADMIN]).json()
    found = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    fill = {"{pipeline}": world.name, "{model_name}": world.name, "{version}": "1", "{model}": world.name}
    for old, new in fill.items():
        found = [(method, path.replace(old, new)) for method, path in found]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_no_route_answers_without_a_valid_key(world: World, role: str) -> None:
    known = operations(world, role)
    assert known
    before = {topic.name(world.name): world.ends(topic.name(world.name)) for topic in (EVENTS, LABELS)}
    for method, path in [*known, ("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/unknown")]:
        for key in ("", "wrong", "hr_000000000000_" + "A" * 43):
            answer = world.ask(role, method, path, key, [TRIP] if method != "GET" else None)
            is_open = path.startswith("/v2/health/") and not path.startswith("/v2/health/r/")
            assert answer.status_code == (200 if is_open else 401), (method, path)
    assert {topic.name(world.name): world.ends(topic.name(world.name)) for topic in (EVENTS, LABELS)} == before


@pytest.mark.parametrize("role", ["ingest", "gateway"])
def test_events_are_taken_by_the_scope_ingest_alone(world: World, role: str) -> None:
    path, topic = f"/v1/pipelines/{world.name}/events", EVENTS.name(world.name)
    before = sum(world.ends(topic).values())
    for scope in (Scope.READ, Scope.PREDICT, Scope.LABEL, Scope.OPERATE):
        answer = world.ask(role, "POST", path, world.keys[scope], [TRIP])
        assert answer.status_code == 403
        assert "ingest" in answer.json()["error"]
    assert sum(world.ends(topic).values()) == before
    assert world.ask(role, "POST", path, world.keys[Scope.INGEST], [TRIP]).status_code == 200
    assert sum(world.ends(topic).values()) == before + 1


@pytest.mark.parametrize("role", ["rpc", "gateway"])
def test_predictions_are_made_for_the_scope_predict_alone(world: World, role: str) -> None:
    path = f"/v1/pipelines/{world.name}/predict" if role == "gateway" else f"/v2/models/{world.name}/infer"
    body: Any = TRIP if role == "gateway" else _infer_body(world)
    for key, status in (("", 401), (world.keys[Scope.INGEST], 403), (world.keys[Scope.READ], 403)):
        assert world.ask(role, "POST", path, key, body).status_code == status
    answer = world.ask(role, "POST", path, world.keys[Scope.PREDICT], body)
    assert answer.status_code == 200, answer.text


def _infer_body(world: World) -> dict[str, Any]:
    metadata = world.ask("rpc", "GET", f"/v2/models/{world.name}", world.keys[Scope.READ]).json()
    inputs = []
    for one in (one for one in metadata["inputs"] if one["name"] in TRIP):  # the others are optional
        value = TRIP[one["name"]]
        inputs.append({"name": one["name"], "datatype": one["datatype"], "shape": [1], "data": [value]})
    return {"inputs": inputs}


@pytest.mark.parametrize(
    ("key", "status"),
    [("", "UNAUTHENTICATED"), ("wrong", "UNAUTHENTICATED"), (Scope.INGEST, "PERMISSION_DENIED"), (Scope.READ, None)],
)
def test_grpc_asks_for_a_key_too(world: World, key: str, status: str | None) -> None:
    credentials = grpc.ssl_channel_credentials(world.authority.file.read_bytes())
    metadata = [("authorization", f"Bearer {world.keys.get(key, key)}")] if key else []  # type: ignore[call-overload]
    with grpc.secure_channel(world.endpoints["rpc"]["grpc"], credentials) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelMetadataRequest(name=world.name)
        if status is None:
            assert stub.ModelMetadata(request, metadata=metadata, timeout=WAIT_S).name == world.name
            return
        for call, message in (
            (stub.ModelMetadata, request),
            (stub.ModelInfer, service_pb2.ModelInferRequest(model_name=world.name)),
            (stub.RepositoryModelUnload, service_pb2.RepositoryModelUnloadRequest(model_name=world.name)),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(message, metadata=metadata, timeout=WAIT_S)
            assert refused.value.code().name == status


@pytest.mark.parametrize("role", ROLES)
def test_figures_need_a_key_and_health_does_not(world: World, role: str) -> None:
    ops = world.endpoints[role]["ops"]
    assert httpx.get(f"{ops}/metrics").status_code == 401
    assert httpx.get(f"{ops}/healthz").status_code == 200
    assert "checks" not in httpx.get(f"{ops}/readyz").json()
    key = {"Authorization": f"Bearer {world.keys[Scope.READ]}"}
    assert "headrace" in httpx.get(f"{ops}/metrics", headers=key).text
    assert httpx.get(f"{ops}/metrics", headers={"X-Api-Key": world.keys[Scope.PREDICT]}).status_code == 401


def test_a_key_that_is_revoked_is_refused_by_running_roles(world: World) -> None:
    key, record = make_key("short-lived", (Scope.READ,))
    write_key(world.settings, record)
    wait_for(lambda: world.ask("gateway", "GET", "/v1/status", key).status_code == 200)
    write_key(world.settings, msgspec.structs.replace(record, revoked_us=1))
    wait_for(lambda: world.ask("gateway", "GET", "/v1/status", key).status_code == 401)


def test_refusals_are_on_the_audit_topic_with_who_and_what(world: World) -> None:
    world.ask("rpc", "POST", f"/v2/repository/models/{world.name}/unload", world.keys[Scope.READ], {})

    def noted() -> bool:
        return any(
            entry.what.endswith("/unload") and entry.status == 403 and entry.name == f"{world.name} read"
            for entry in _audit(world)
        )

    wait_for(noted)


def _audit(world: World) -> list[AuditEntry]:
    consumer = clients.consumer(world.settings, "audit", **{"enable.partition.eof": True})
    try:
        ends = clients.end_offsets(consumer, AUDIT.name(), [0])

        consumer.assign([TopicPartition(AUDIT.name(), 0, 0)])
        found: list[AuditEntry] = []
        while True:
            for message in consumer.consume(500, 0.5):
                if message.error() is None:
                    found.append(msgspec.json.decode(message.value() or b"", type=AuditEntry))
                else:
                    return found
            if not ends[0]:
                return found
    finally:
        consumer.close()


def test_the_command_line_makes_lists_and_revokes_keys(world: World, tmp_path: Path) -> None:
    def headrace(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "headrace", "keys", *arguments]
        where = ["--kafka", world.settings.kafka_bootstrap_servers]
        return subprocess.run([*command, *where], capture_output=True, text=True, check=False, cwd=Path.cwd())

    made = headrace("create", "from the shell", "--scope", "read", "--expires", "1h")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    wait_for(lambda: world.ask("monitor", "GET", "/v1/snapshot", key).status_code == 200)
    listed = [json.loads(line) for line in headrace("list", "--json").stdout.splitlines()]
    mine = next(one for one in listed if one["name"] == "from the shell")
    assert key.split("_", 2)[2] not in json.dumps(listed)
    assert headrace("revoke", mine["id"]).returncode == 0
    wait_for(lambda: world.ask("monitor", "GET", "/v1/snapshot", key).status_code == 401)
    assert headrace("revoke", "ffffffffffff").returncode == 2
