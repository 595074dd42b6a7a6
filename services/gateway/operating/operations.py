"""Operations on a model's rollout: asked of its coordinator, and answered when every worker follows."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from headrace.contracts.events_pb2 import Operation, RolloutDirective
from headrace.rollouts.operations import OperatorSession
from headrace.runtime.settings import ServiceSettings

TIMEOUT_S = 15.0


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request. `version` of 0 is the one before the active one, or for a pin the active one."""

    version: Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)] = 0
    reason: str = ""


class Deployed(Asked, forbid_unknown_fields=True):
    """The body of a request to deploy: `canary_share` of the workers serve the version first; 0 for all of them."""

    canary_share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0


def deploy(settings: ServiceSettings, model: str, asked: Deployed) -> dict[str, Any]:
    """Serve a version that is held or newer: on canaries until a deploy of it without a share, or everywhere.

    Errors as `roll_back`.
    """
    request = Operation(
        model=model,
        kind=Operation.DEPLOY,
        version=asked.version,
        reason=asked.reason or "deployed by an operator",
        canary_share=asked.canary_share,
    )
    return _carry_out(settings, request, lambda _: request)


def roll_back(settings: ServiceSettings, model: str, asked: Asked) -> dict[str, Any]:
    """Serve an earlier version and stay there.

    Raises:
        ConfigError: the coordinator refuses.
        DependencyError: no coordinator answers, or Kafka does not.
    """
    request = Operation(model=model, kind=Operation.ROLL_BACK, version=asked.version, reason=asked.reason)
    return _carry_out(settings, request, lambda _: request)


def pin(settings: ServiceSettings, model: str, asked: Asked) -> dict[str, Any]:
    """Stay at the version that is served; errors as `roll_back`."""

    def at(active: RolloutDirective) -> Operation:
        reason = asked.reason or f"pinned at version {active.version}"
        return Operation(model=model, kind=Operation.ROLL_BACK, version=active.version, reason=reason)

    return _carry_out(settings, Operation(model=model), at)


def resume(settings: ServiceSettings, model: str, asked: Asked) -> dict[str, Any]:
    """Let the newest versions be rolled out again; errors as `roll_back`."""
    request = Operation(model=model, kind=Operation.RESUME, reason=asked.reason)
    return _carry_out(settings, request, lambda _: request)


def _carry_out(
    settings: ServiceSettings, about: Operation, request: Callable[[RolloutDirective], Operation]
) -> dict[str, Any]:
    """Ask, and wait until the fleet follows; what came of it."""
    with OperatorSession(settings, about.model) as session:
        active, since = session.catch_up(), time.monotonic()
        answer = session.request(request(active), TIMEOUT_S)
        done = session.wait_followed(TIMEOUT_S)
        return {
            "model": answer.model,
            "version": answer.version,
            "previous": answer.previous_version,
            "pinned": answer.pinned,
            "canaries": sorted(answer.canaries),
            "done": done,
            "took_ms": round((time.monotonic() - since) * 1000),
            "workers": [
                {"worker": one.newest.worker, "version": one.version, "error": one.error}
                for one in session.model.workers
            ],
        }
