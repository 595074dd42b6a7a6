"""The guard before an ASGI app, and what it notes."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from headrace.contracts.access import AuditEntry, Scope
from headrace.runtime.access.guard import Guard
from headrace.runtime.access.keys import KeyRing, make_key
from headrace.runtime.access.rest import COOKIE, Guarded
from headrace.runtime.access.scopes import grpc_scope, includes, rest_scope
from headrace.runtime.access.sessions import Sessions


class Notes:
    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    def note(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


class World:
    """An app that counts its requests, behind a guard with a key for each scope."""

    def __init__(self) -> None:
        self.ring, self.notes, self.sessions = KeyRing(), Notes(), Sessions()
        self.keys: dict[Scope, str] = {}
        for scope in Scope:
            self.keys[scope], record = make_key(f"holder of {scope.value}", (scope,))
            self.ring.apply(record)
        self.guard = Guard(self.ring, None, self.notes, role="test", instance="test-1")
        self.seen: list[Any] = []
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(
                Guarded(self._app, self.guard, lambda path: path.startswith("/assets/"), self.sessions)
            ),
            base_url="http://test",
        )

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def ask(self, method: str, path: str, key: str = "", **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {key}"} if key else {}
        return await self.client.request(method, path, headers={**given, **headers})


REQUESTS = [
    ("GET", "/v1/status", Scope.READ),
    ("POST", "/v1/query", Scope.READ),
    ("POST", "/v2/models/rides/infer", Scope.PREDICT),
    ("POST", "/v2/models/rides/versions/3/infer", Scope.PREDICT),
    ("POST", "/v1/pipelines/rides/predict", Scope.PREDICT),
    ("POST", "/v1/pipelines/rides/events", Scope.INGEST),
    ("POST", "/v1/pipelines/rides/labels", Scope.INGEST),
    ("PATCH", "/v1/uploads/abc", Scope.INGEST),
    ("POST", "/v1/queues/sampled/items/4/label", Scope.LABEL),
    ("POST", "/v2/repository/models/rides/load", Scope.OPERATE),
    ("DELETE", "/v1/datasets/rides", Scope.OPERATE),
    ("POST", "/anything/new", Scope.OPERATE),
    ("GET", "/v1/keys", Scope.ADMIN),
    ("POST", "/v1/keys", Scope.ADMIN),
]


@pytest.mark.parametrize(("method", "path", "needed"), REQUESTS)
async def test_exactly_the_scopes_that_include_what_is_needed_are_let_through(
    method: str, path: str, needed: Scope
) -> None:
    world = World()
    for scope, key in world.keys.items():
        answer = await world.ask(method, path, key)
        allowed = scope in (needed, Scope.ADMIN) or (scope is Scope.OPERATE and needed is Scope.READ)
        assert answer.status_code == (200 if allowed else 403), scope
        if not allowed:
            assert needed.value in answer.json()["error"]
    assert len(world.seen) == (2 if needed not in (Scope.READ, Scope.ADMIN) else 3 if needed is Scope.READ else 1)


@pytest.mark.parametrize("key", ["", "wrong", "hr_000000000000_" + "A" * 43, "x" * 10_000, "eyJhbGciOiJub25lIn0.e30."])
async def test_without_a_valid_credential_nothing_is_done(key: str) -> None:
    world = World()
    for method, path, _ in REQUESTS:
        answer = await world.ask(method, path, key)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert set(answer.json()) == {"error"}
    assert not world.seen


async def test_health_and_a_pages_scripts_need_no_credential() -> None:
    world = World()
    for path in ("/v2/health/live", "/v2/health/ready", "/assets/page.js"):
        assert (await world.ask("GET", path)).status_code == 200


async def test_the_key_may_come_in_a_header_of_its_own() -> None:
    world = World()
    assert (await world.ask("GET", "/v1/status", **{"X-Api-Key": world.keys[Scope.READ]})).status_code == 200


async def test_a_revoked_key_is_refused_from_the_next_request_on() -> None:
    world = World()
    key, record = make_key("short", (Scope.READ,))
    world.ring.apply(record)
    assert (await world.ask("GET", "/v1/status", key)).status_code == 200
    world.ring.apply(msgspec.structs.replace(record, revoked_us=1))
    assert (await world.ask("GET", "/v1/status", key)).status_code == 401


async def test_a_key_beyond_its_rate_is_told_when_to_come_again() -> None:
    world = World()
    key, record = make_key("fast", (Scope.READ,), rate=0.5, burst=2)
    world.ring.apply(record)
    answers = [await world.ask("GET", "/v1/status", key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "2"
    assert (await world.ask("GET", "/v1/status", world.keys[Scope.READ])).status_code == 200


async def test_operations_and_refusals_are_noted_and_looking_is_not() -> None:
    world = World()
    await world.ask("GET", "/v1/status", world.keys[Scope.READ])
    await world.ask("POST", "/v2/models/rides/infer", world.keys[Scope.PREDICT])
    assert not world.notes.entries
    await world.ask("POST", "/v2/repository/models/rides/load", world.keys[Scope.OPERATE])
    await world.ask("POST", "/v2/repository/models/rides/load", world.keys[Scope.READ])
    await world.ask("POST", "/v2/repository/models/rides/load")
    done, forbidden, unknown = world.notes.entries
    assert (done.name, done.status, done.what) == (
        "holder of operate", 200, "POST /v2/repository/models/rides/load",
    )  # fmt: skip
    assert (forbidden.name, forbidden.status) == ("holder of read", 403)
    assert (unknown.principal, unknown.status) == ("", 401)
    assert "credential" in unknown.detail


async def test_strangers_cannot_flood_the_audit() -> None:
    world = World()
    for _ in range(1000):
        await world.ask("GET", "/v1/status", "wrong")
    assert len(world.notes.entries) < 400


async def test_a_session_stands_for_its_key_and_changes_need_its_csrf_token() -> None:
    world = World()
    session = world.sessions.open(world.keys[Scope.OPERATE])
    cookie = {"Cookie": f"{COOKIE}={session.id}"}
    assert (await world.ask("GET", "/v1/status", **cookie)).status_code == 200
    headers = dict(world.seen[-1]["headers"])
    assert headers[b"authorization"].decode() == f"Bearer {world.keys[Scope.OPERATE]}"
    assert b"cookie" not in headers
    for csrf in ({}, {"X-CSRF-Token": "guessed"}):
        assert (await world.ask("POST", "/v1/rules/nightly/trigger", **cookie, **csrf)).status_code == 403
    right = {"X-CSRF-Token": session.csrf}
    assert (await world.ask("POST", "/v1/rules/nightly/trigger", **cookie, **right)).status_code == 200
    world.sessions.close(session.id)
    assert (await world.ask("GET", "/v1/status", **cookie)).status_code == 401


async def test_a_revoked_key_ends_its_sessions() -> None:
    world = World()
    key, record = make_key("short", (Scope.READ,))
    world.ring.apply(record)
    cookie = {"Cookie": f"{COOKIE}={world.sessions.open(key).id}"}
    assert (await world.ask("GET", "/v1/status", **cookie)).status_code == 200
    world.ring.apply(msgspec.structs.replace(record, revoked_us=1))
    assert (await world.ask("GET", "/v1/status", **cookie)).status_code == 401


async def test_a_websocket_without_a_credential_is_closed_before_it_opens() -> None:
    world, sent = World(), list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    guarded = Guarded(world._app, world.guard)
    scope = {"type": "websocket", "path": "/v1/pipelines/rides/predictions/ws", "headers": [], "query_string": b""}
    await guarded(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
    sent.clear()
    await guarded({**scope, "extensions": {"websocket.http.response": {}}}, receive, send)
    assert sent[0]["status"] == 401
    assert "error" in json.loads(sent[1]["body"])
    assert not world.seen


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/grpc.health.v1.Health/Check", None),
        ("/inference.GRPCInferenceService/ModelInfer", Scope.PREDICT),
        ("/inference.GRPCInferenceService/ModelStreamInfer", Scope.PREDICT),
        ("/inference.GRPCInferenceService/ModelMetadata", Scope.READ),
        ("/inference.GRPCInferenceService/ServerLive", Scope.READ),
        ("/inference.GRPCInferenceService/SystemSharedMemoryStatus", Scope.READ),
        ("/inference.GRPCInferenceService/SystemSharedMemoryRegister", Scope.OPERATE),
        ("/inference.GRPCInferenceService/RepositoryModelLoad", Scope.OPERATE),
        ("/inference.GRPCInferenceService/TraceSetting", Scope.OPERATE),
        ("/headrace.v1.Ingest/ProduceStream", Scope.INGEST),
        ("/anything.New/Method", Scope.OPERATE),
    ],
)
def test_grpc_methods_need_what_their_rest_routes_need(path: str, needed: Scope | None) -> None:
    assert grpc_scope(path) is needed


def test_only_admin_includes_everything() -> None:
    assert all(includes(frozenset({Scope.ADMIN}), scope) for scope in Scope)
    assert rest_scope("OPTIONS", "/v1/status") is Scope.READ
