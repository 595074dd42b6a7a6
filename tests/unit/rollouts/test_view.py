"""One model's rollout by its directives: what is active, staged or on canaries, and what is ignored."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.events_pb2 import Refusal, RolloutDirective
from headrace.rollouts.directives import Position, record_key
from headrace.rollouts.view import RolloutView, views_of
from tests.directive_kit import MODEL, Coordinators, directive


def view_of(*directives: RolloutDirective) -> RolloutView:
    view = RolloutView(MODEL)
    for one in directives:
        view.apply(one)
    return view


def summary(view: RolloutView) -> dict[str, Any]:
    """Everything that a view says."""
    named = {name: getattr(view, name) for name in ("active", "previous", "canary", "staged", "prepared")}
    return {
        **{name: one and (one.version, one.sequence) for name, one in named.items()},
        "position": view.position,
        "pinned": view.pinned,
        "refused": view.refused,
        "before": view.previous_version,
        "meant": {worker: (meant := view.meant_for(worker)) and meant.version for worker in "abc"},
    }


def test_activations_and_roll_backs_say_what_the_fleet_serves() -> None:
    view = RolloutView(MODEL)
    assert (view.active_version, view.active_digest, view.meant_for("a"), view.pinned) == (0, "", None, False)
    view.apply(directive("STAGE", 1, 1))
    assert view.active is None
    view.apply(directive("ACTIVATE", 1, 2))
    view.apply(directive("ACTIVATE", 2, 3, previous_version=1))
    assert (view.active_version, view.previous_version, view.pinned) == (2, 1, False)
    view.apply(directive("ROLL_BACK", 1, 4, pinned=True, previous_version=2))
    assert (view.active_version, view.active_digest, view.previous_version, view.pinned) == (1, "d1", 2, True)


def test_the_version_before_is_the_last_other_one() -> None:
    """Activating the same version once more, as resuming does, forgets nothing."""
    view = view_of(directive("ACTIVATE", 1, 1), directive("ACTIVATE", 2, 2), directive("ACTIVATE", 2, 3))
    assert view.previous is not None
    assert (view.previous.version, view.active_version) == (1, 2)


def test_canaries_are_meant_to_serve_another_version_than_the_others() -> None:
    view = view_of(directive("ACTIVATE", 1, 1), directive("STAGE", 2, 2), directive("CANARY", 2, 3, canaries=["a"]))
    assert [getattr(view.meant_for(worker), "version", 0) for worker in "ab"] == [2, 1]
    assert [view.is_canary(worker) for worker in "ab"] == [True, False]
    assert view.staged is None
    assert view.prepared is view.canary


@pytest.mark.parametrize(
    ("end", "version", "canaries"), [("ACTIVATE", 2, []), ("ROLL_BACK", 1, []), ("RETIRE", 2, ["a"])]
)
def test_what_ends_a_canary(end: str, version: int, canaries: list[str]) -> None:
    view = view_of(directive("ACTIVATE", 1, 1), directive("CANARY", 2, 2, canaries=["a"]))
    view.apply(directive(end, version, 3, canaries=canaries))
    assert (view.canary, view.prepared, view.is_canary("a")) == (None, None, False)


@pytest.mark.parametrize(
    ("action", "version", "staged"),
    [
        ("ACTIVATE", 2, None),
        ("ACTIVATE", 1, None),
        ("RETIRE", 2, None),
        ("RETIRE", 1, 2),
        ("REFUSE", 9, 2),
        ("STAGE", 3, 3),
    ],
)
def test_what_becomes_of_a_staging(action: str, version: int, staged: int | None) -> None:
    """Whatever serves next ends it; retiring another version, or an answer to an operator, does not."""
    view = view_of(directive("ACTIVATE", 1, 1), directive("STAGE", 2, 2), directive(action, version, 3))
    assert (view.staged and view.staged.version) == staged
    assert view.active_version == (version if action == "ACTIVATE" else 1)


def test_directives_of_a_fenced_coordinator_duplicates_and_other_models_are_ignored() -> None:
    view = view_of(directive("ACTIVATE", 5, 5, epoch=2))
    for ignored in (
        directive("ACTIVATE", 6, 6, epoch=1),
        directive("ACTIVATE", 7, 5, epoch=2),
        directive("ACTIVATE", 4, 4, epoch=2),
        directive("ACTIVATE", 9, 9, epoch=9, model="other"),
    ):
        assert not view.apply(ignored)
    assert (view.active_version, view.position) == (5, Position(2, 5))
    assert view.apply(directive("ACTIVATE", 6, 6, epoch=2))


def test_a_successor_overrules_what_a_fenced_coordinator_wrote_under_the_same_number() -> None:
    view = view_of(directive("ACTIVATE", 5, 5, epoch=1), directive("ACTIVATE", 4, 5, epoch=2))
    assert view.active_version == 4


def test_an_action_of_a_later_release_changes_nothing() -> None:
    """And what follows it counts."""
    view = view_of(directive("ACTIVATE", 1, 1), directive("ACTION_UNSPECIFIED", 2, 2))
    assert (view.active_version, view.position.sequence) == (1, 2)
    assert view.apply(directive("ACTIVATE", 2, 3))


def test_refusals_are_those_that_the_newest_directive_lists() -> None:
    one, other = (Refusal(version=v, manifest_digest=f"d{v}", served=True) for v in (2, 3))
    view = view_of(directive("ROLL_BACK", 1, 1, refusals={"refused": [one, other]}))
    assert view.refused == {"d2": one, "d3": other}
    view.apply(directive("STAGE", 4, 2, refusals={"refused": [other]}))
    assert view.refused == {"d3": other}
    view.apply(directive("STAGE", 4, 3, refusals={}))
    assert view.refused == {}


def test_of_an_early_release_that_lists_no_refusals_what_was_retired_is_refused() -> None:
    view = view_of(directive("ACTIVATE", 1, 1), directive("RETIRE", 2, 2), directive("RETIRE", 3, 3))
    assert sorted(view.refused) == ["d2", "d3"]


def test_the_views_of_several_models_do_not_depend_on_the_order_given() -> None:
    written = [directive("ACTIVATE", v, v, model=model) for model in ("m", "n") for v in (1, 2)]
    views = views_of(reversed(written))
    assert {name: view.active_version for name, view in views.items()} == {"m": 2, "n": 2}


ACTIONS = ["STAGE", "ACTIVATE", "ROLL_BACK", "CANARY", "RETIRE", "REFUSE"]
versions = st.integers(1, 4)


@st.composite
def logs(draw: st.DrawFn) -> list[RolloutDirective]:
    """Any directives in their order, by one coordinator after the other."""
    made = Coordinators()
    for action, version, takes_over in draw(st.lists(st.tuples(st.sampled_from(ACTIONS), versions, st.booleans()))):
        if takes_over:
            made.take_over()
        canaries = draw(st.lists(st.sampled_from("abc"), unique=True)) if action in {"CANARY", "RETIRE"} else []
        refusals = draw(st.none() | st.lists(versions, unique=True))
        listed = {} if refusals is None else {"refusals": {"refused": [_refusal(v) for v in refusals]}}
        made.write(action, version, canaries, pinned=draw(st.booleans()), **listed)
    return made.log


def _refusal(version: int) -> Refusal:
    return Refusal(version=version, manifest_digest=f"d{version}")


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[RolloutDirective], list[RolloutDirective]]:
    """A log, and how a reader may come to see it.

    What was read before, what fenced coordinators wrote late, and other models' directives come anywhere in between.
    """
    log = draw(logs())
    delivered: list[RolloutDirective] = []
    for number, told in enumerate(log):
        delivered.append(told)
        for kind in draw(st.lists(st.sampled_from(["duplicate", "replay", "fenced", "other model"]), max_size=3)):
            if kind == "duplicate":
                delivered.append(draw(st.sampled_from(log[: number + 1])))
            elif kind == "replay":
                delivered += log[: number + 1]
            elif kind == "fenced":
                late = directive(
                    draw(st.sampled_from(ACTIONS)),
                    draw(versions),
                    draw(st.integers(1, 99)),
                    epoch=told.coordinator_epoch - 1,
                )
                delivered.append(late)
            else:
                delivered.append(directive("ACTIVATE", draw(versions), 999, epoch=99, model="other"))
    return log, delivered


@given(deliveries())
def test_however_directives_are_delivered_the_view_is_that_of_the_coordinators_order(
    case: tuple[list[RolloutDirective], list[RolloutDirective]],
) -> None:
    log, delivered = case
    view, plain, left = RolloutView(MODEL), RolloutView(MODEL), list(log)
    for told in delivered:
        expected = bool(left) and told is left[0]
        assert view.apply(told) == expected
        if expected:
            plain.apply(left.pop(0))
        assert summary(view) == summary(plain)
    assert not left


@given(logs(), st.randoms())
def test_the_views_of_what_is_left_of_a_log_do_not_depend_on_the_order_in_which_it_is_held(
    log: list[RolloutDirective], random: Any
) -> None:
    """A coordinator holds the newest directive of each key in no order of time."""
    left = list({record_key(told): told for told in log}.values())
    shuffled = random.sample(left, len(left))
    assert {name: summary(view) for name, view in views_of(shuffled).items()} == {
        name: summary(view) for name, view in views_of(left).items()
    }
