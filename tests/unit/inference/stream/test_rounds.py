"""A round among champion, canary and shadow: who answers, in what order, and whose failure reaches whom."""

from typing import Any

import pytest

from headrace.runtime.errors import DataError, WeightsError
from headrace.streams.isolation import Breaker
from headrace.weights import Bound, StaticWeights
from services.inference.routing import Router
from services.inference.stream.champion import Champion
from services.inference.stream.rounds import Answers, Models
from services.inference.stream.variants import MOST_BAD, Variant
from services.inference.stream.version_check import VersionCheck
from tests.runner_kit import FAILS_AT, NAN, Times, events, runner, variant_runners

COUNT = 400
KEYS = [f"k{i}" for i in range(COUNT)]
CANARY = {"name": "c", "role": "canary", "share": 0.25}
SHADOW = {"name": "s", "role": "shadow"}
MINE = Router([(0.0, 0.25)]).route(KEYS)[0]
"""The indices of the canary's keys."""


class Seen:
    def __init__(self) -> None:
        self.bound: dict[str, int] = {}
        self.made: dict[str, int] = {}
        self.failed: dict[tuple[str, str], int] = {}

    def model_bound(self, model: str, version: int) -> None:
        self.bound[model] = version

    def model_predicted(self, model: str, records: int) -> None:
        self.made[model] = self.made.get(model, 0) + records

    def model_failed(self, model: str, phase: str, records: int) -> None:
        self.failed[model, phase] = self.failed.get((model, phase), 0) + records


class World:
    """A champion that doubles, and the further models that a test names."""

    def __init__(self, *sections: tuple[dict[str, Any], Times, StaticWeights | None], least: int = 200) -> None:
        self.seen, self.model = Seen(), Times(2)
        self.weights = StaticWeights(self.model.network(), model="toy", version=7)
        champion = Champion(runner(self.model, weights=self.weights), Breaker(least=least), VersionCheck())
        variants = [Variant(one, self.seen, lambda: 0.0) for one in variant_runners(*sections)]
        self.models = Models(champion, variants, self.seen)
        self.shadows: dict[str, Answers] = {}

    def run(self, values: list[float] | None = None) -> Answers:
        made = events(values or [float(i) for i in range(COUNT)])
        with self.models.lease() as found:
            answers = found.answers(made, [event.id for event in made])
            self.shadows = {shadow.name: answers for shadow, _, answers in found.shadows(made)}
        return answers


def with_bad(bad: float, *places: int) -> list[float]:
    return [bad if i in places else float(i) for i in range(COUNT)]


def test_champion_canary_and_shadow_see_the_same_events_and_answers_stand_in_their_order() -> None:
    world = World((CANARY, Times(3), None), (SHADOW, Times(5), None))
    answers = world.run()
    assert answers.values == [(3.0 if i in MINE else 2.0) * i for i in range(COUNT)]
    assert [(model, version) for model, version, _ in answers.makers] == [
        ("toy.c", 1) if i in MINE else ("toy", 7) for i in range(COUNT)
    ]
    assert answers.failed == {}
    assert world.shadows["toy.s"].values == [5.0 * i for i in range(COUNT)]
    assert {(model, version) for model, version, _ in world.shadows["toy.s"].makers} == {("toy.s", 2)}
    assert world.model.asked == [COUNT - len(MINE)], "the champion is not asked for what the canary answers"
    assert world.seen.made == {"toy": COUNT - len(MINE), "toy.c": len(MINE)}
    assert world.seen.bound == {"toy.c": 1, "toy.s": 2}


class RefusesTwo(Times):
    """Cannot predict the third and fifth of the canary's events; the champion can."""

    def features(self, events):
        if {event.x for event in events} & {float(MINE[2]), float(MINE[4])}:
            raise RuntimeError("cannot")
        return super().features(events)


def test_what_a_canary_cannot_predict_the_champion_predicts_in_its_place() -> None:
    world = World((CANARY, RefusesTwo(3), None))
    answers = world.run()
    theirs = set(MINE) - {MINE[2], MINE[4]}
    assert answers.values == [(3.0 if i in theirs else 2.0) * i for i in range(COUNT)]
    assert {i for i, maker in enumerate(answers.makers) if maker[0] == "toy.c"} == theirs
    assert answers.failed == {}
    assert world.seen.failed == {("toy.c", "features"): 2}
    assert world.seen.made == {"toy": COUNT - len(theirs), "toy.c": len(theirs)}


def test_a_canary_without_a_version_leaves_all_to_the_champion() -> None:
    world = World((CANARY, Times(3), StaticWeights(None)))
    assert world.run().values == [2.0 * i for i in range(COUNT)]
    assert world.seen.failed == {("toy.c", "weights"): len(MINE)}
    assert world.seen.made == {"toy": COUNT, "toy.c": 0}


@pytest.mark.parametrize("whose", ["canary", "champion"])
def test_what_neither_canary_nor_champion_can_predict_fails_at_its_own_place(whose: str) -> None:
    bad = MINE[3] if whose == "canary" else next(i for i in range(COUNT) if i not in MINE)
    world = World((CANARY, Times(3), None))
    answers = world.run(with_bad(FAILS_AT["features"], bad))
    assert list(answers.failed) == [bad]
    assert answers.failed[bad].step == "features"
    assert [v for i, v in enumerate(answers.values) if i != bad] == [
        (3.0 if i in MINE else 2.0) * i for i in range(COUNT) if i != bad
    ]
    assert world.seen.failed == ({("toy.c", "features"): 1} if whose == "canary" else {})


@pytest.mark.parametrize(("bad", "step"), [(FAILS_AT["features"], "features"), (NAN, "forward")])
def test_a_shadow_that_fails_is_counted_and_changes_no_answer(bad: float, step: str) -> None:
    world = World((SHADOW, Times(5), None), least=COUNT)
    answers = world.run(with_bad(bad, 5, 17))
    assert list(answers.failed) == list(world.shadows["toy.s"].failed) == [5, 17]
    assert world.seen.failed == {("toy.s", step): 2}, "the champion's own failures are not counted here"
    assert [v for v in world.shadows["toy.s"].values if v is not None] == [
        5.0 * i for i in range(COUNT) if i not in {5, 17}
    ]


class Refuses(Times):
    def features(self, events):
        raise RuntimeError("never")


def test_a_shadow_that_fails_on_more_than_is_worth_finding_is_left_out_of_the_round() -> None:
    shadow = Refuses(5)
    world = World((SHADOW, shadow, None))
    assert world.run().values == [2.0 * i for i in range(COUNT)]
    assert len(world.shadows["toy.s"].failed) == COUNT
    assert world.seen.failed == {("toy.s", "features"): COUNT}
    assert len(shadow.asked) == 0
    assert COUNT > MOST_BAD


def test_a_champion_that_fails_on_too_much_ends_the_round() -> None:
    world = World(least=20)
    with pytest.raises(DataError, match="features raises ValueError: not at features"):
        world.run([FAILS_AT["features"]] * COUNT)


class Watched(StaticWeights):
    """Weights that note with which error each of their leases ended."""

    def __init__(self, model: Times) -> None:
        super().__init__(model.network(), model="toy", version=1)
        self.ended: list[type[BaseException] | None] = []

    def lease(self) -> "Watched":  # type: ignore[override]
        return self

    def __enter__(self) -> Bound:
        with super().lease() as bound:
            return bound

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.ended.append(kind)


def test_a_champions_version_that_cannot_serve_is_not_blamed_on_canaries_and_shadows() -> None:
    """A lease that ends by a WeightsError tells the fleet to take that model's version back."""
    of_canary, of_shadow = Watched(Times(3)), Watched(Times(5))
    world = World((CANARY, Times(3), of_canary), (SHADOW, Times(5), of_shadow))
    world.run()
    world.weights.swap(Times(float("nan")).network(), 8)
    with pytest.raises(WeightsError, match="version 8"):
        world.run()
    assert of_canary.ended == of_shadow.ended == [None, None]


def test_a_round_with_no_events_asks_nobody() -> None:
    world = World((CANARY, Times(3), None), (SHADOW, Times(5), None))
    with world.models.lease() as found:
        assert found.answers([], []) == Answers([], [], {})
        assert [len(answers.values) for _, _, answers in found.shadows([])] == [0]
    assert world.model.asked == []
