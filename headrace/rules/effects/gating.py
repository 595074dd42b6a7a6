"""gate: whether what was trained is good enough. Nothing outside is asked."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from headrace.rules.effects.port import StepContext, StepFailed, World


class Measured(NamedTuple):
    """What a gate looks at."""

    examples: int
    error: float | None
    metrics: Mapping[str, float]
    baselines: Mapping[str, float]
    champion: float | None
    version: int


async def gate(ctx: StepContext, world: World) -> dict[str, Any]:  # noqa: ARG001 - as every effect
    """Go on, or not."""
    found = measured(ctx)
    checks = list(criteria(ctx.step.spec, found))
    if failed := [text for passed, text in checks if not passed]:
        raise StepFailed("; ".join(failed))
    return {"passed": [text for _, text in checks], "error": found.error, "champion": found.champion}


def measured(ctx: StepContext) -> Measured:
    """By the last evaluation, else by the test part of the training.

    Raises:
        StepFailed: there is neither.
    """
    if (compared := ctx.result_of("evaluate")) is not None:
        candidate, champion = compared["candidate"], compared["champion"]
        return Measured(
            compared["examples"], candidate["error"], candidate["metrics"], compared["baselines"],
            champion["error"] if champion is not None else None, compared["version"],
        )  # fmt: skip
    if (trained := ctx.result_of("train")) is not None:
        test = trained["parts"]["test"]
        return Measured(test["examples"], test["error"], trained["metrics"], trained["baselines"], None, 0)
    raise StepFailed("nothing before it was trained or evaluated")


def criteria(spec: Mapping[str, Any], found: Measured) -> Iterator[tuple[bool, str]]:
    """Each criterion: whether it is met, and in words."""
    yield found.examples >= spec["examples"], f"{found.examples} examples, at least {spec['examples']}"
    error = math.inf if found.error is None else found.error
    if spec["error"] is not None:
        yield error <= spec["error"], f"error {error:.4g}, at most {spec['error']:g}"
    if spec["champion"] is not None:
        yield _against_champion(error, spec["champion"], found)
    if spec["baseline"] is not None:
        times, best = spec["baseline"], min(found.baselines.values(), default=math.inf)
        yield error <= times * best, f"error {error:.4g}, at most {times:g} × the best baseline's {best:.4g}"
    for name, limit in spec["at_most"].items():
        yield _metric(name, found) <= limit, f"{name} {_metric(name, found):.4g}, at most {limit:g}"
    for name, limit in spec["at_least"].items():
        yield _metric(name, found) >= limit, f"{name} {_metric(name, found):.4g}, at least {limit:g}"


def _against_champion(error: float, times: float, found: Measured) -> tuple[bool, str]:
    """Where nothing serves yet, everything is better than that."""
    if not found.version:
        return True, "no version serves yet"
    champion = math.inf if found.champion is None else found.champion
    text = f"error {error:.4g}, at most {times:g} × version {found.version}'s {champion:.4g}"
    return error <= times * champion and math.isfinite(error), text


def _metric(name: str, found: Measured) -> float:
    if name not in found.metrics:
        raise StepFailed(f"there is no metric {name!r}: there are {', '.join(sorted(found.metrics)) or 'none'}")
    return found.metrics[name]
