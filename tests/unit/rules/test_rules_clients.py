"""HTTP as the role does it: what is tried again, what is refused, and who may call back."""

import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headrace.contracts.snapshot import ModelStatus, Score, Snapshot
from headrace.rules.effects.port import StepFailed
from services.monitor.rest import create_app as monitor_app
from services.rules import clients
from services.rules.clients import Outside, Roles, TrainJobs, monitor_errors, secret_in

NOWHERE = Path("/nonexistent")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "pauses", lambda: iter([0.0] * 10))


def serving(*statuses: int, content: object = None) -> tuple[httpx.AsyncClient, list[Request]]:
    """A client of a server that answers with these statuses in turn, and the requests that it got."""
    left, got = list(statuses), list[Request]()

    async def answer(request: Request) -> Response:
        got.append(request)
        return JSONResponse(content or {"error": "no"}, left.pop(0))

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app)), got


async def test_a_webhook_is_tried_again_with_the_same_key_until_it_is_taken() -> None:
    client, got = serving(503, 429, 500, 202)
    assert await Outside(client, b"s").post("http://a/b", {"x": 1}, {"Idempotency-Key": "k"}) == 202
    assert [request.headers["Idempotency-Key"] for request in got] == ["k"] * 4


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410, 422])
async def test_a_webhook_that_is_refused_is_not_tried_again(status: int) -> None:
    client, got = serving(status, 200)
    with pytest.raises(StepFailed, match=f"http://a/b answers {status}"):
        await Outside(client, b"s").post("http://a/b", {}, {})
    assert len(got) == 1


async def test_a_jobs_refusal_is_told_and_a_role_that_is_busy_is_asked_again() -> None:
    client, got = serving(429, 503, 200, content={"id": "j", "state": "waiting"})
    jobs = TrainJobs(Roles(NOWHERE, {"train": "http://t"}), client)
    assert (await jobs.submit("jobs", {"epochs": 1}, "k"))["id"] == "j"
    assert {request.headers["Idempotency-Key"] for request in got} == {"k"}
    client, _ = serving(422)
    with pytest.raises(StepFailed, match="the role train refuses: no"):
        await TrainJobs(Roles(NOWHERE, {"train": "http://t"}), client).submit("jobs", {}, "k")


async def test_the_errors_are_those_of_the_monitors_snapshot() -> None:
    models = (ModelStatus("p", "champion", score=Score(1.0, 2.5)), ModelStatus("p.x", "shadow"))
    snapshot = Snapshot("p", 1, 1, model=Score(1.0, 3.5), models=models)
    app: Callable[..., object] = monitor_app(lambda: msgspec.json.encode(snapshot))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app))  # type: ignore[arg-type]
    assert await monitor_errors(Roles(NOWHERE, {"monitor": "http://m"}), client) == {"": 3.5, "p": 2.5}
    assert await monitor_errors(Roles(NOWHERE, {}), client) == {}


def test_a_token_is_the_same_after_a_restart_and_only_this_user_can_read_its_secret(tmp_path: Path) -> None:
    client = httpx.AsyncClient()
    secret = secret_in(tmp_path / "rules")
    first, second = Outside(client, secret), Outside(client, secret_in(tmp_path / "rules"))
    assert first.token("run/1") == second.token("run/1") != first.token("run/2")
    first.address = "http://me/"
    assert first.callback("run/1") == ("http://me/v1/rules/runs/run/steps/1/done", first.token("run/1"))
    assert stat.S_IMODE((tmp_path / "rules" / "callback-secret").stat().st_mode) == 0o600
