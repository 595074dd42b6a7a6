"""The state of each version and of each worker in a word, as directives and reports tell it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.rollouts.directives import CANARY, RETIRE, ROLL_BACK, SERVES, STAGE
from headrace.rollouts.reports import FAILED, LEFT, STAGED, ReportedWorker
from headrace.rollouts.view import RolloutView

SILENT_US = 10_000_000
"""A worker that was not heard of for so long is taken for gone; agents report every second."""


class VersionState(NamedTuple):
    """What has become of a version, why, and who or what caused it."""

    state: str
    reason: str = ""
    cause: str = ""


def version_states(directives: Sequence[RolloutDirective], versions: Iterable[int]) -> dict[int, VersionState]:
    """Each version's state by a model's directives, given in their order; "published" where no directive names it.

    Directives may be missing, since compaction takes all but the newest of each key.
    """
    states = {version: VersionState("published") for version in versions}
    if (
        directives
    ):  # of versions whose directives were compacted away, the newest directive still says if they were refused
        refused = {r.version: r.served for r in directives[-1].refusals.refused}
        states.update({v: VersionState("taken back" if refused[v] else "retired") for v in states.keys() & refused})
    serves = 0
    for directive in directives:
        version = directive.version
        if directive.action in SERVES:
            _serve(states, directive, serves or directive.previous_version)
            serves = version
        elif directive.action == STAGE:
            states[version] = VersionState("staging", directive.reason)
        elif directive.action == CANARY:
            states[version] = VersionState("canary", f"on {', '.join(directive.canaries)}")
        elif directive.action == RETIRE:
            state = "taken back" if directive.cause else "retired"
            states[version] = VersionState(state, directive.reason, directive.cause)
    return states


def _serve(states: dict[int, VersionState], directive: RolloutDirective, before: int) -> None:
    """The fleet serves another version from here on."""
    if before in states and before != directive.version:
        back, by_itself = directive.action == ROLL_BACK, directive.cause not in {"", "operator"}
        state = "taken back" if by_itself else "rolled back"
        states[before] = VersionState(state, directive.reason, directive.cause) if back else VersionState("served")
    for version, was in states.items():
        if was.state in {"staging", "canary"}:  # its activation was compacted away
            states[version] = VersionState("served")
    states[directive.version] = VersionState("pinned" if directive.pinned else "active", directive.reason)


def worker_state(worker: ReportedWorker, view: RolloutView, now_us: int) -> str:
    """A worker's state in a word, the first of these that holds.

    "left", "silent", "refused <version>", "starting", "fenced", "behind", "staged <version>", "canary", "serving".
    """
    newest, meant = worker.newest, view.meant_for(worker.newest.worker)
    states = {
        "left": newest.state == LEFT,
        "silent": now_us - newest.at_us > SILENT_US,
        f"refused {newest.version}": newest.state == FAILED,
        "starting": not worker.version,
        "fenced": newest.fenced,
        "behind": meant is not None and worker.version != meant.version,
        f"staged {newest.version}": newest.state == STAGED and newest.version != worker.version,
        "canary": view.is_canary(newest.worker),
    }
    return next((state for state, holds in states.items() if holds), "serving")
