"""REST of the role `rules`: JSON in, `Rules`, answers out. Every error is {"error": "..."}."""

import hmac
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

import msgspec
import orjson
from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from headrace import __version__
from headrace.contracts.rule_records import RunState
from headrace.rules import describe
from headrace.rules.spec import RuleSpec
from headrace.rules.triggers import next_time
from headrace.runtime.rest import Measured, describe_invalid, errors, http_error, invalid, json_answer, unforeseen
from services.rules import metrics
from services.rules.errors import BadRequestError, ForbiddenError, RulesError
from services.rules.service import Rules, now_us

RULES, RUNS = "/v1/rules", "/v1/rules/runs"
_MOST_BODY = 1 << 20
_PING_S = 15

RunId = Annotated[str, Path(description="the run's id")]
T = TypeVar("T")


class Person(msgspec.Struct, forbid_unknown_fields=True):
    """Who says it, and why."""

    by: str
    comment: str = ""


class Call(msgspec.Struct, forbid_unknown_fields=True):
    """Who asks for a run; `details` are handed on to webhooks."""

    by: str = ""
    details: dict[str, Any] = {}


class CalledBack(msgspec.Struct, forbid_unknown_fields=True):
    """What a webhook's step came to."""

    state: str
    result: dict[str, Any] = {}
    error: str = ""


def create_app(rules: Rules, token: Callable[[str], str]) -> FastAPI:
    """The ASGI app, with its documentation at /docs; `token` gives the token of a step's key."""
    app = FastAPIOffline(title="Headrace rules", version=__version__, description="The rules of a pipeline.")
    app.add_middleware(Measured, observe=metrics.request)
    for kind, answer in (
        (RulesError, _refused),
        (HTTPException, http_error),
        (RequestValidationError, invalid(400)),
        (Exception, unforeseen),
    ):
        app.add_exception_handler(kind, answer)
    describe_invalid(app, 400)
    _add_ask(app, rules)
    _add_follow(app, rules)
    _add_persons(app, rules)
    _add_calls(app, rules, token)
    return app


def _add_ask(app: FastAPI, rules: Rules) -> None:
    @app.get(RULES, summary="The rules of the pipeline")
    async def list_rules() -> Response:
        return json_answer({"pipeline": rules.pipeline, "rules": [_rule(rules, one) for one in rules.rules.values()]})

    @app.get(RUNS, summary="The newest runs")
    async def list_runs(
        rule: Annotated[str, Query(description="only this rule's")] = "",
        state: Annotated[RunState | None, Query(description="only those in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        newest = sorted(rules.runs.values(), key=lambda run: run.started_us, reverse=True)
        fitting = [r.id for r in newest if (not rule or r.rule == rule) and (state is None or r.state is state)]
        return json_answer({"runs": [rules.shown(run) for run in fitting[:limit]]})

    @app.get(f"{RUNS}/{{run}}", summary="One run: its trigger, its steps, and what each came to", responses=errors(404))
    async def one_run(run: RunId) -> Response:
        return json_answer(rules.shown(run))


def _add_follow(app: FastAPI, rules: Rules) -> None:
    @app.get(f"{RULES}/events", summary="Follow every run as server-sent events", response_class=EventSourceResponse)
    async def all_events() -> Response:
        """Each event is named `run`, its data is what the run's own address answers; runs that change from now on."""
        return _stream(rules.follow(None))

    @app.get(
        f"{RUNS}/{{run}}/events",
        summary="Follow a run as server-sent events, until it is over",
        response_class=EventSourceResponse,
        responses=errors(404),
    )
    async def run_events(run: RunId) -> Response:
        """Each event is named `run`, its data is what the run's own address answers."""
        rules.run(run)
        return _stream(rules.follow(run))


def _stream(shown: AsyncIterator[dict[str, Any]]) -> Response:
    async def frames() -> AsyncIterator[ServerSentEvent]:
        async for one in shown:
            yield ServerSentEvent(orjson.dumps(one).decode(), event="run")

    return EventSourceResponse(frames(), ping=_PING_S, headers={"X-Accel-Buffering": "no"})


def _add_persons(app: FastAPI, rules: Rules) -> None:
    @app.post(
        f"{RUNS}/{{run}}/approve", summary="Approve the step that waits", responses=errors(400, 404, 409),
        openapi_extra=_body(by="who approves", comment="why"),
    )  # fmt: skip
    async def approve(run: RunId, request: Request) -> Response:
        person = await _person(request)
        await rules.approve(run, person.by, person.comment)
        return json_answer(rules.shown(run))

    @app.post(
        f"{RUNS}/{{run}}/reject", summary="Reject the step that waits: it has failed", responses=errors(400, 404, 409),
        openapi_extra=_body(by="who rejects", comment="why"),
    )  # fmt: skip
    async def reject(run: RunId, request: Request) -> Response:
        person = await _person(request)
        await rules.reject(run, person.by, person.comment)
        return json_answer(rules.shown(run))

    @app.post(
        f"{RUNS}/{{run}}/cancel", summary="Cancel a run", responses=errors(400, 404, 409),
        openapi_extra=_body(by="who cancels", comment="why"),
    )  # fmt: skip
    async def cancel(run: RunId, request: Request) -> Response:
        """What its step does is stopped; a version that it has on canaries is taken from them."""
        person = await _person(request)
        await rules.cancel(run, person.by, person.comment)
        return json_answer(rules.shown(run))


def _add_calls(app: FastAPI, rules: Rules, token: Callable[[str], str]) -> None:
    @app.post(
        f"{RULES}/{{rule}}/trigger", status_code=202, summary="Begin a run", responses=errors(400, 404, 409),
        openapi_extra=_body(by="who asks", details="an object that webhooks get"),
    )  # fmt: skip
    async def trigger(
        rule: Annotated[str, Path(description="the rule's name")],
        request: Request,
        key: Annotated[
            str, Header(alias="Idempotency-Key", max_length=200, description="the same key again: the same run")
        ] = "",
    ) -> Response:
        """A new run is 202, one that this key began before is 200."""
        asked = _decoded(await _read(request), Call)
        run, new = await rules.trigger(rule, key or uuid.uuid4().hex, asked.by, asked.details)
        return json_answer(rules.shown(run.id), 202 if new else 200, {"Location": f"{RUNS}/{run.id}"})

    @app.post(
        f"{RUNS}/{{run}}/steps/{{number}}/done", summary="Say what a webhook's step came to",
        responses=errors(400, 403, 404, 409),
        openapi_extra=_body(state="done or failed", result="an object", error="of a failure"),
    )  # fmt: skip
    async def done(
        run: RunId,
        number: Annotated[int, Path(description="the step's number, from 1")],
        request: Request,
        authorization: Annotated[str, Header(description="Bearer TOKEN, as the webhook was told")] = "",
    ) -> Response:
        """The same again changes nothing."""
        if not hmac.compare_digest(authorization.encode(), f"Bearer {token(f'{run}/{number}')}".encode()):
            raise ForbiddenError("the token is not that of the step: send the header Authorization: Bearer TOKEN")
        called = _decoded(await _read(request), CalledBack)
        if called.state not in ("done", "failed"):
            raise BadRequestError(f"state: {called.state!r}, expected done or failed")
        await rules.called_back(run, number, msgspec.to_builtins(called))
        return json_answer(rules.shown(run))


def _rule(rules: Rules, rule: RuleSpec) -> dict[str, Any]:
    memory, mine = rules.memories.get(rule.name), [run for run in rules.runs.values() if run.rule == rule.name]
    going_on = [run for run in mine if not run.state.over]
    states = [str(run.state) for run in going_on]
    return {
        "name": rule.name,
        "description": rule.description,
        "when": [describe.condition(one) for one in rule.when],
        "steps": [describe.step(one) for one in rule.steps],
        "on_failure": rule.on_failure,
        "cooldown_s": rule.cooldown_s,
        "at_most": rule.at_most,
        "state": "waiting" if "waiting" in states else "running" if states else "idle",
        "running": [run.id for run in going_on],
        "last": max(mine, key=lambda run: run.started_us).id if mine else None,
        "last_us": (memory.started_us if memory is not None else 0) or None,
        "next_us": next_time(rule, now_us()) or None,
        "suppressed": memory.suppressed if memory is not None else {},
    }


async def _person(request: Request) -> Person:
    person = _decoded(await _read(request), Person)
    if not person.by.strip():
        raise BadRequestError("by: expected who it is")
    return person


async def _read(request: Request) -> bytes:
    parts, size = list[bytes](), 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > _MOST_BODY:
            raise BadRequestError(f"the body is larger than {_MOST_BODY} bytes")
    return b"".join(parts)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequestError(str(error)) from None


def _body(**fields: str) -> dict[str, Any]:
    properties = {
        name: {"type": "object" if "object" in text else "string", "description": text} for name, text in fields.items()
    }
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


async def _refused(_: Request, error: Exception) -> Response:
    return json_answer({"error": str(error)}, error.status if isinstance(error, RulesError) else 500)
