"""What has become of a model's versions, and what state its workers are in, as directives and reports tell it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied

SILENT_US = 10_000_000
"""A worker that was not heard of for so long is taken for gone; agents report every second."""
SWAPPING = (RolloutDirective.ACTIVATE, RolloutDirective.ROLL_BACK)


class VersionState(NamedTuple):
    """What has become of a version, why, and who caused it."""

    state: str
    reason: str = ""
    cause: str = ""


def follow(said: Sequence[RolloutDirective], versions: Iterable[int]) -> dict[int, VersionState]:
    """Each version's state, by following the directives, given in their order; "published" where none names it."""
    states = {version: VersionState("published") for version in versions}
    if said:  # of those whose directives were compacted away, the newest one still says that they were refused
        refused = {r.version: r.served for r in said[-1].refusals.refused}
        states.update({v: VersionState("taken back" if refused[v] else "retired") for v in states.keys() & refused})
    serves = 0
    for directive in said:
        version = directive.version
        if directive.action in SWAPPING:
            _swapped(states, directive, serves or directive.previous_version)
            serves = version
        elif directive.action == RolloutDirective.STAGE:
            states[version] = VersionState("staging", directive.reason)
        elif directive.action == RolloutDirective.CANARY:
            states[version] = VersionState("canary", f"on {', '.join(directive.canaries)}")
        elif directive.action == RolloutDirective.RETIRE:
            state = "taken back" if directive.cause else "retired"
            states[version] = VersionState(state, directive.reason, directive.cause)
    return states


def _swapped(states: dict[int, VersionState], said: RolloutDirective, before: int) -> None:
    """Another version serves: what has become of those before it."""
    if before in states and before != said.version:
        back, by_itself = said.action == RolloutDirective.ROLL_BACK, said.cause not in {"", "operator"}
        state = "taken back" if by_itself else "rolled back"
        states[before] = VersionState(state, said.reason, said.cause) if back else VersionState("served")
    for version, was in states.items():
        if was.state in {"staging", "canary"}:  # its activation was compacted away
            states[version] = VersionState("served")
    states[said.version] = VersionState("pinned" if said.pinned else "active", said.reason)


class Meant(NamedTuple):
    """What a worker is to serve: a version, 0 for none; and whether as one of its canaries."""

    version: int
    canary: bool


def meant_for(worker: str, active: RolloutDirective | None, canary: RolloutDirective | None) -> Meant:
    """What the newest directives mean for a worker."""
    if canary is not None and worker in canary.canaries:
        return Meant(canary.version, canary=True)
    return Meant(active.version if active is not None else 0, canary=False)


def worker_state(heard: WeightsApplied, version: int, meant: Meant, now_us: int) -> str:
    """A worker's state in a word: the first of these that holds."""
    staged = heard.state == WeightsApplied.STAGED and heard.version != version
    behind = bool(meant.version) and version != meant.version
    states = {
        "left": heard.state == WeightsApplied.LEFT,
        "silent": now_us - heard.at_us > SILENT_US,
        f"refused {heard.version}": heard.state == WeightsApplied.FAILED,
        "starting": not version,
        "fenced": heard.fenced,
        "behind": behind,
        f"staged {heard.version}": staged,
        "canary": meant.canary,
    }
    return next((state for state, holds in states.items() if holds), "serving")
