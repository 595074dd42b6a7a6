"""REST of the role `drift`: drift as it is, alerts, silences and rules. Every error is {"error": "..."}."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from headrace import __version__
from headrace.alerts.grafana import dashboard
from headrace.alerts.policy import Policy
from headrace.alerts.prometheus import rules_file
from headrace.runtime.errors import DependencyError
from headrace.runtime.rest import (
    Measured,
    describe_invalid,
    errors,
    http_error,
    invalid,
    json_answer,
    unforeseen,
)
from services.drift import metrics
from services.drift.hub import Hub

Reset = Callable[[Sequence[str] | None], "Future[list[str]]"]
_RESET_S = 30.0
_YEAR_S = 365 * 86_400.0


class SilenceFor(BaseModel):
    """How long an alert is silenced, and why."""

    model_config = ConfigDict(extra="forbid")
    for_s: float = Field(3600.0, gt=0, le=_YEAR_S, description="seconds")
    reason: str = Field("", max_length=1000)
    by: str = Field("", max_length=200)


class SilenceMatching(SilenceFor):
    """The same for every alert whose id matches."""

    match: str = Field(min_length=1, max_length=500, description="an alert's id, in which * stands for anything")


class ResetOf(BaseModel):
    """Which references are to be taken anew."""

    model_config = ConfigDict(extra="forbid")
    columns: list[str] | None = Field(None, max_length=10_000, description="default: all")


def create_app(snapshot: Callable[[], bytes], hub: Hub, policy: Policy, reset: Reset) -> FastAPI:
    """The ASGI app, with its documentation at /docs.

    Args:
        snapshot: the newest one as JSON; empty before the first.
        hub: all alerts and silences.
        policy: of the pipeline's definitions.
        reset: takes references anew, once the role's thread has time, and is done once that is durable.
    """
    app = FastAPIOffline(title="Headrace drift", version=__version__, description="Drift, alerts and silences.")
    app.add_middleware(Measured, observe=metrics.request)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid(400))
    app.add_exception_handler(Exception, unforeseen)
    _add_drift(app, snapshot, reset)
    _add_rules(app, policy)
    _add_alerts(app, hub)
    _add_silences(app, hub)
    describe_invalid(app, 400)
    return app


def _add_drift(app: FastAPI, snapshot: Callable[[], bytes], reset: Reset) -> None:
    @app.get("/v1/drift", summary="Every column's distances, limits and distributions", responses=errors(503))
    async def drift() -> Response:
        body = snapshot()
        if not body:
            return json_answer({"error": "the drift role has read nothing yet"}, 503)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    @app.post("/v1/drift/reset", summary="Take references anew", responses=errors(400, 404, 503))
    async def take_anew(body: ResetOf | None = None) -> Response:
        columns = body.columns if body is not None else None
        try:
            done = await asyncio.wait_for(asyncio.wrap_future(reset(columns)), _RESET_S)
        except TimeoutError:
            return json_answer({"error": f"not done within {_RESET_S:g} s; it is still to be done"}, 503)
        if unknown := sorted(set(columns or ()) - set(done)):
            return json_answer({"error": f"no column {', '.join(unknown)} is watched"}, 404)
        return json_answer({"columns": done})


def _add_rules(app: FastAPI, policy: Policy) -> None:
    @app.get("/v1/alerts/rules", summary="Every alert: meaning, severity, what to do, PromQL")
    async def rules() -> Response:
        return json_answer({"rules": rules_of(policy)})

    @app.get("/v1/alerts/prometheus", summary="Prometheus' rules file", response_class=Response)
    async def prometheus() -> Response:
        return Response(rules_file(policy.definitions()), media_type="application/yaml")

    @app.get("/v1/alerts/grafana", summary="Grafana's dashboard")
    async def grafana() -> Response:
        return json_answer(dashboard(policy.definitions()))


def _add_alerts(app: FastAPI, hub: Hub) -> None:
    @app.get("/v1/alerts", summary="Alerts of every role", responses=errors(400))
    async def alerts(
        state: Annotated[Literal["on", "all"], Query(description="on, or also those that have ended")] = "on",
        model: Annotated[str, Query(max_length=200)] = "",
        name: Annotated[str, Query(max_length=100)] = "",
    ) -> Response:
        return json_answer({"alerts": hub.alerts(on=state == "on", model=model, name=name)})

    @app.post(
        "/v1/alerts/{identity:path}/silence", status_code=201, summary="Silence one alert",
        responses=errors(400, 404, 503),
    )  # fmt: skip
    async def silence(
        identity: Annotated[str, Path(description="its id", max_length=500)], body: SilenceFor | None = None
    ) -> Response:
        if not hub.known(identity):
            return json_answer({"error": f"no alert {identity!r} is known; POST /v1/silences takes any"}, 404)
        return await _silenced(hub, identity, body or SilenceFor())


def _add_silences(app: FastAPI, hub: Hub) -> None:
    @app.get("/v1/silences", summary="The silences in force")
    async def silences() -> Response:
        return json_answer({"silences": hub.silences()})

    @app.post("/v1/silences", status_code=201, summary="Silence every alert that matches", responses=errors(400, 503))
    async def silence(body: SilenceMatching) -> Response:
        return await _silenced(hub, body.match, body)

    @app.delete("/v1/silences/{silence}", summary="End a silence", responses=errors(400, 404, 503))
    async def end(silence: Annotated[str, Path(max_length=100)]) -> Response:
        try:
            found = await asyncio.to_thread(hub.end_silence, silence)
        except DependencyError as error:
            return json_answer({"error": error.message}, 503)
        return json_answer({"id": silence}) if found else json_answer({"error": f"no silence {silence!r}"}, 404)


async def _silenced(hub: Hub, match: str, body: SilenceFor) -> Response:
    """Answered once the silence is durable."""
    try:
        made = await asyncio.to_thread(hub.silence, match, body.for_s, body.reason, body.by)
    except DependencyError as error:
        return json_answer({"error": error.message}, 503)
    return json_answer(made, 201)


def rules_of(policy: Policy) -> list[dict[str, Any]]:
    """The definitions as JSON has them, those that are off too."""
    from headrace.alerts.definitions import DEFINITIONS

    return [
        {
            "name": d.name, "severity": policy.severity(d.name), "source": d.source, "summary": d.summary,
            "meaning": d.meaning, "to_do": d.to_do, "subject": d.subject, "expression": d.expression,
            "for_s": d.for_s, "enabled": policy.enabled(d.name),
        }
        for d in DEFINITIONS
    ]  # fmt: skip
