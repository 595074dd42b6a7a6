"""Which candidates join which queue: the most pressing, as many as there is room for, and each once."""

import math
from pathlib import Path
from typing import Any

import pytest

from headrace.contracts.labelling import LetterOf
from headrace.contracts.records import Prediction
from headrace.model.labelling_spec import QueueSpec
from services.labelling.queues.candidates import MOST_PENDING, Candidate, Candidates, Read
from services.labelling.queues.queue import Allowance, Queue
from services.labelling.queues.scores import Scorer
from tests.labelling_kit import World
from tests.unit.labelling.test_desk import given, pipeline

MARGIN = QueueSpec(name="u", kind="uncertain", share=None)
ENTROPY = MARGIN.model_copy(update={"measure": "entropy"})
SPREAD = MARGIN.model_copy(update={"measure": "spread"})


@pytest.mark.parametrize(
    ("task", "classes", "prediction", "margin", "entropy"),
    [
        ("binary", (), 0.5, 1.0, 1.0),
        ("binary", (), {"probability": 1.0}, 0.0, 0.0),
        ("binary", (), 0.75, 0.5, 0.8113),
        ("ranking", (), 0.0, 1.0, 1.0),
        ("ranking", (), -1e9, 0.0, 0.0),
        ("multiclass", ("a", "b", "c"), [1 / 3, 1 / 3, 1 / 3], 1.0, 1.0),
        ("multiclass", ("a", "b", "c"), {"a": 0.6, "b": 0.4}, 0.8, 0.6126),
        ("multilabel", ("a", "b"), [1.0, 0.25], 0.5, 0.8113),
    ],
)
def test_uncertainty_by_task(task: Any, classes: Any, prediction: Any, margin: float, entropy: float) -> None:
    scorer = Scorer(task, classes)
    assert scorer.uncertainty(MARGIN, prediction) == pytest.approx(margin)
    assert scorer.uncertainty(ENTROPY, prediction) == pytest.approx(entropy, abs=1e-4)


def test_a_number_is_uncertain_by_what_other_models_say_or_by_its_own_field() -> None:
    scorer = Scorer("regression")
    assert scorer.uncertainty(MARGIN, 5.0) is None
    assert scorer.uncertainty(MARGIN, 4.0, [8.0]) == 2.0
    own = MARGIN.model_copy(update={"field": "spread"})
    assert scorer.uncertainty(own, {"value": 4.0, "spread": 0.5}) == 0.5
    assert Scorer("binary").uncertainty(SPREAD, 0.2, [0.3, 0.9]) == pytest.approx(0.7)
    with pytest.raises(ValueError, match="finite"):
        scorer.uncertainty(MARGIN, math.nan, [1.0])


@pytest.mark.parametrize(
    ("task", "classes", "one", "other", "distance"),
    [
        ("binary", (), 0.2, 0.9, 0.7),
        ("multiclass", ("a", "b", "c"), [1, 0, 0], [0, 0.5, 0.5], 1.0),
        ("multilabel", ("a", "b"), [0.1, 0.9], [0.2, 0.3], 0.6),
        ("count", (), 3, 5.5, 2.5),
    ],
)
def test_disagreement_by_task(task: Any, classes: Any, one: Any, other: Any, distance: float) -> None:
    assert Scorer(task, classes).distance(one, other) == pytest.approx(distance)
    assert Scorer(task, classes).distance(other, one) == pytest.approx(distance)


def test_an_allowance_begins_full_and_fills_up_over_a_minute() -> None:
    allowance = Allowance(60)
    assert allowance.left(1000) == 60
    allowance.take(60)
    assert [allowance.left(at) for at in (1000, 2500, 3_000_000)] == [0, 1, 60]


def test_a_sample_is_about_its_share_and_always_the_same_one() -> None:
    queue = Queue(QueueSpec(name="s", kind="sampled", share=0.1), Scorer("regression"))
    taken = [n for n in range(5000) if queue.place(Candidate("0-0", f"k{n}", 7)) is not None]
    assert 400 < len(taken) < 600
    assert taken == [n for n in range(5000) if queue.place(Candidate("1-1", f"k{n}", 9)) is not None]


def prediction(number: int, value: float = 0.5) -> Prediction[Any]:
    return Prediction(f"k{number}", value, "toy", 1, "c", (0, number), 1000, 1000)


def test_a_candidate_waits_and_goes_if_it_is_labelled_meanwhile_or_was_before() -> None:
    candidates = Candidates(2000, 500)
    candidates.add(Read(labels=[("k3", 700), ("k1", 400)]), {"t": {0: 0}}, 0)  # k1: of an earlier event
    candidates.add(Read([prediction(1), prediction(2), prediction(3)]), {"t": {0: 5}}, 1000)
    candidates.add(Read(labels=[("k2", 1500)], shadows=[prediction(1, 0.9)]), {"t": {0: 8}}, 1500)
    assert candidates.ripe(2999) == []
    assert candidates.offsets({"t": {0: 9}}) == {"t": {0: 5}}
    (ripe,) = candidates.ripe(3000)
    assert (ripe.key, ripe.others) == ("k1", [0.9])
    assert (candidates.offsets({"t": {0: 9}}), len(candidates)) == ({"t": {0: 9}}, 0)


def test_a_shadow_that_comes_first_is_kept_for_its_champion() -> None:
    candidates = Candidates(0, 500)
    candidates.add(Read(shadows=[prediction(1, 0.1)]), {}, 0)
    candidates.add(Read([prediction(1)]), {}, 0)
    assert [one.others for one in candidates.ripe(0)] == [[0.1]]


def test_more_candidates_than_may_wait_stop_waiting_the_oldest_first() -> None:
    candidates = Candidates(10**9, 500)
    candidates.add(Read([prediction(n) for n in range(MOST_PENDING)]), {}, 0)
    candidates.add(Read([prediction(-1)]), {}, 0)
    assert len(candidates.ripe(1)) == MOST_PENDING
    assert len(candidates) == 1


def queues(*specs: dict[str, Any]) -> list[dict[str, Any]]:
    return list(specs)


def test_a_full_queue_of_scores_keeps_the_most_pressing_and_never_an_item_that_somebody_has(tmp_path: Path) -> None:
    made = World(pipeline(tmp_path, queues=queues({"name": "all", "kind": "uncertain", "size": 2, "field": "s"})))
    for n, score in enumerate((1.0, 2.0)):
        made.come(made.predicted(n, {"value": 0.0, "s": score}))
    made.round()
    made.round()
    taken = made.desk.lease("all", "ana", made.now_ms)
    assert taken is not None
    assert taken.id == "0-1"
    made.come(made.predicted(2, {"value": 0.0, "s": 3.0}), made.predicted(3, {"value": 0.0, "s": 2.5}))
    made.round()
    assert sorted(made.store.entries) == ["0-1", "0-2"]
    assert made.loop.parts.admission.passed_over("all") == 1
    assert b"toy/item/0-0" not in made.state.records


def test_a_full_queue_in_order_of_time_takes_no_more_until_there_is_room(tmp_path: Path) -> None:
    made = World(pipeline(tmp_path, queues=queues({"name": "all", "kind": "all", "size": 2})))
    made.come(*(made.predicted(n) for n in range(3)))
    made.round()
    assert sorted(made.store.entries) == ["0-0", "0-1"]
    given(made, "ana", 1.0)
    made.come(made.predicted(3))
    made.round()
    assert sorted(made.store.waiting["all"]) == ["0-1", "0-3"]


def test_no_more_join_in_a_minute_than_the_queue_says(tmp_path: Path) -> None:
    made = World(pipeline(tmp_path, queues=queues({"name": "all", "kind": "all", "per_minute": 3})))
    made.come(*(made.predicted(n) for n in range(10)))
    made.round()
    assert len(made.store.entries) == 3
    made.come(*(made.predicted(n) for n in range(10, 20)))
    made.round(20)
    assert len(made.store.entries) == 4


def test_an_item_of_several_queues_is_one_item(tmp_path: Path) -> None:
    made = World(pipeline(tmp_path, queues=queues({"name": "all", "kind": "all"}, {"name": "b", "kind": "all"})))
    made.come(made.predicted(0))
    made.come(made.predicted(0))
    made.round()
    made.round()
    assert [list(e.work.queues) for e in made.store.entries.values()] == [["all", "b"]]
    made.desk.lease("all", "ana", made.now_ms)
    assert made.desk.lease("b", "ben", made.now_ms) is None


def test_slices_are_those_written_out_and_those_that_alerts_name(tmp_path: Path) -> None:
    spec = {"name": "all", "kind": "slices", "slices": [{"x": {"from": 10, "to": 12}}]}
    made = World(pipeline(tmp_path, queues=queues(spec, {"name": "w", "kind": "all", "where": {"id": ["k3", "k4"]}})))
    made.inputs.slices = {"toy/slice_error/x=2": {"x": 2.0}}
    made.come(*(made.predicted(n) for n in range(13)))
    made.round()
    assert list(made.store.waiting["all"]) == ["0-10", "0-11", "0-2"]
    assert list(made.store.waiting["w"]) == ["0-3", "0-4"]
    made.inputs.slices = {}
    made.come(made.predicted(20, event={"id": "k20", "x": 2.0}))
    made.round()
    assert "0-20" not in made.store.entries


def test_dead_letters_have_a_queue_of_their_own_and_a_label_without_its_event_can_be_repaired(tmp_path: Path) -> None:
    made = World(pipeline(tmp_path, queues=queues({"name": "all", "kind": "dead_letters"})))
    letter = LetterOf("toy.labels", 1, 9, "decode", "y: Expected `float`, got `str`", '{"id": "k7", "y": "x"}')
    event = Candidate("0-3", "k3", made.now_ms, (0, 3), letter=letter, event=b'{"id":"k3","x":1.0}')
    made.come(made.predicted(0), letters=[event, Candidate("l1-9", "k7", made.now_ms, letter=letter)])
    made.round()
    assert sorted(made.store.entries) == ["0-3", "l1-9"]
    for _ in range(2):
        given(made, "ana", 4.0)
    assert {(label.key, label.value, label.partition) for label in made.state.labels} == {
        (b"k3", b'{"id":"k3","y":4.0}', 0),
        (b"k7", b'{"id":"k7","y":4.0}', None),
    }


def test_an_event_that_is_gone_or_too_large_or_too_old_joins_no_queue(tmp_path: Path) -> None:
    made = World(pipeline(tmp_path), max_event_bytes=1024)
    gone, large, old = made.predicted(0), made.predicted(1, event={"id": "k1", "x": "y" * 2000}), made.predicted(2)
    del made.events[0, 0]
    old.event_ms -= 601_000
    made.come(gone, large, old, made.predicted(3))
    made.round()
    assert list(made.store.entries) == ["0-3"]
    assert made.loop.parts.admission.lost == 2


def test_items_beyond_the_memory_that_is_allowed_are_passed_over(tmp_path: Path) -> None:
    made = World(
        pipeline(tmp_path, queues=queues({"name": "all", "kind": "all", "size": 10_000, "per_minute": 10_000}))
    )
    made.store._max_bytes = 5000
    for n in range(100):
        made.come(made.predicted(n))
        made.round()
    assert made.store.bytes < 6000
    assert len(made.store.entries) < 12
    assert made.loop.parts.admission.passed_over("all") == 100 - len(made.store.entries)


def test_a_prediction_without_its_tasks_form_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    made = World(pipeline(tmp_path, queues=queues({"name": "all", "kind": "uncertain", "field": "s"})))
    made.come(made.predicted(0, {"s": "much"}), made.predicted(1, {"s": 1.0}))
    made.round()
    assert (list(made.store.entries), made.loop.parts.admission.unscored) == (["0-1"], 1)
