"""The drift role's logic: records in, alerts out, through a state that is written and read."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.drift.limits import Limits
from headrace.drift.schema import Reader
from headrace.evaluation.judge import Judge
from headrace.evaluation.tasks import task_of
from services.drift import state
from services.drift.flow import FlowLimits
from services.drift.labels import LabelledErrors
from services.drift.scores import Scores
from services.drift.service import Prediction, Watch, Watched
from services.drift.snapshot import snapshot


class Event(msgspec.Struct):
    id: str
    x: float
    colour: str


class Label(msgspec.Struct):
    id: str
    y: float


LABELS = msgspec.json.Decoder(Label)
JUDGE = Judge(task_of("regression"), error=lambda prediction, label: abs(prediction - label.y))
WATCHED = Watched(
    pipeline="toy",
    models=("toy", "toy.next"),
    reader=Reader(Event, ["id"]),
    scores=Scores("regression", (), float),
    judge=JUDGE,
    decode_label=LABELS.decode,
    limits=Limits(reference=2000, windows=(500, 1000)),
    flow=FlowLimits(interval_s=1.0),
    error_examples=500,
)


class River:
    """What is fed to a watch, a thousand events a second."""

    def __init__(self) -> None:
        self.rng, self.sent = np.random.default_rng(4), 0

    def feed(self, watch: Watch, count: int, *, shift: float = 0.0, error: float = 1.0, model: str = "toy") -> None:
        for first in range(0, count, 250):
            self._part(watch, min(250, count - first), shift, error, model)

    def _part(self, watch: Watch, count: int, shift: float, error: float, model: str) -> None:
        first, self.sent = self.sent, self.sent + count
        keys, at = [f"k{first + i}".encode() for i in range(count)], 1000 + (first + np.arange(count)) / 1000
        xs, off = self.rng.normal(shift, 1, count).tolist(), self.rng.exponential(error, count).tolist()
        structs = [Event(key.decode(), x, "rgb"[i % 3]) for i, (key, x) in enumerate(zip(keys, xs, strict=True))]
        events = [msgspec.json.encode(one) for one in structs]
        made = [
            Prediction(k.decode(), x, model, 1, int(t * 1000), int(t * 1e6) + 5000)
            for k, x, t in zip(keys, xs, at.tolist(), strict=True)
        ]
        labels = [msgspec.json.encode(Label(k.decode(), x + e)) for k, x, e in zip(keys, xs, off, strict=True)]
        watch.events(events, at)
        watch.predictions(made, keys, float(at[-1]))
        watch.labels(keys, labels, float(at[-1]))
        watch.tick(float(at[-1]), float(at[-1]))


def drained(watch: Watch) -> set[tuple[str, bool]]:
    return {(alert.id, alert.firing) for alert in watch.drain()}


def test_a_steady_stream_raises_nothing() -> None:
    watch, river = Watch(WATCHED), River()
    river.feed(watch, 30_000)
    assert drained(watch) == set()


def test_inputs_predictions_errors_and_volume_are_alerts_of_their_model() -> None:
    watch, river = Watch(WATCHED), River()
    river.feed(watch, 20_000)
    river.feed(watch, 2500, shift=1.0, error=3.0)
    started = drained(watch)
    assert {
        ("toy/feature_drift/x", True), ("toy/prediction_drift/prediction", True), ("toy/prediction_drift/mean", True),
        ("toy/error_drift", True),
    } <= started  # fmt: skip
    assert not any(identity.startswith("toy.next") for identity, _ in started)
    river.sent += 10_000  # ten seconds of silence
    river.feed(watch, 250)
    assert ("toy/volume_anomaly", True) in drained(watch)


def test_predictions_of_several_models_are_compared_each_with_its_own() -> None:
    watch, river = Watch(WATCHED), River()
    for _ in range(20):
        river.feed(watch, 500)
        river.feed(watch, 500, shift=5.0, model="toy.next")
    usual = {model: change["usual"] for model, change in snapshot(watch, 0.0)["scores"].items()}
    assert usual["toy"] == pytest.approx(0.0, abs=0.2)
    assert usual["toy.next"] == pytest.approx(5.0, abs=0.2)


def test_a_state_goes_on_and_an_alert_is_not_raised_again() -> None:
    watch, river = Watch(WATCHED), River()
    river.feed(watch, 20_000)
    river.feed(watch, 2500, shift=1.0)
    assert ("toy/feature_drift/x", True) in drained(watch)
    later = Watch(WATCHED)
    state.restore(later, state.encode(watch))
    later.reconcile(())
    river.feed(later, 500, shift=1.0)
    assert ("toy/feature_drift/x", True) not in drained(later)
    river.feed(later, 8000)
    assert ("toy/feature_drift/x", False) in drained(later)


def test_what_is_not_watched_any_more_is_not_left_on() -> None:
    watch, river = Watch(WATCHED), River()
    river.feed(watch, 20_000)
    river.feed(watch, 2500, shift=1.0)
    drained(watch)
    other = Watch(replace(WATCHED, reader=Reader(Event, ["id", "x"])))
    state.restore(other, state.encode(watch))
    other.reconcile(())
    assert ("toy/feature_drift/x", False) in drained(other)
    anew = Watch(WATCHED)  # no state was found, and the log says what is on
    anew.reconcile(watch.raising.on)
    assert {firing for _, firing in drained(anew)} == {False}


def test_a_damaged_state_is_an_error_and_not_half_a_state() -> None:
    with pytest.raises(ValueError, match=r"."):
        state.restore(Watch(WATCHED), b"nonsense")


def test_events_that_cannot_be_decoded_are_an_alert_until_they_end() -> None:
    watch = Watch(WATCHED)
    good, at = msgspec.json.encode(Event("a", 1.0, "r")), np.zeros(1000)
    watch.events([good] * 980 + [b"{"] * 20, at)
    assert drained(watch) == {("toy/unreadable_events", True)}
    watch.events([good] * 1000, at)
    assert drained(watch) == {("toy/unreadable_events", False)}


def test_the_snapshot_is_json_and_says_what_is_learned() -> None:
    watch, river = Watch(WATCHED), River()
    river.feed(watch, 1500)
    shown = msgspec.json.decode(msgspec.json.encode(snapshot(watch, 5.0)))
    assert shown["reference"] == {"kind": "window", "events": 2000, "ready": False, "learned": 1500}
    river.feed(watch, 6000)
    shown = msgspec.json.decode(msgspec.json.encode(snapshot(watch, 5.0)))
    x = next(column for column in shown["columns"] if column["column"] == "x")
    assert set(x["windows"]) == {"short", "long"}
    assert sum(x["now"]["counts"]) + x["now"]["below"] + x["now"]["above"] == 1000
    assert shown["errors"]["toy"]["usual"] == pytest.approx(1.0, abs=0.2)


def errors_of(**other: Any) -> LabelledErrors:
    return LabelledErrors(JUDGE, LABELS.decode, **{"limit": 100, "wait_s": 10.0, **other})


def label(key: str, y: float) -> bytes:
    return msgspec.json.encode(Label(key, y))


def test_labels_and_predictions_meet_in_either_order() -> None:
    joined = errors_of()
    assert joined.predictions(0.0, [b"a"], ["toy"], [1.0]) == []
    assert joined.labels(1.0, [b"a", b"b"], [label("a", 3.0), label("b", 3.0)]) == [("toy", 2.0)]
    assert joined.predictions(2.0, [b"b"], ["toy"], [0.0]) == [("toy", 3.0)]


def test_what_waits_too_long_or_is_too_much_is_dropped_and_bad_labels_are_counted() -> None:
    joined = errors_of(limit=2)
    joined.predictions(0.0, [b"a", b"b", b"c"], ["toy"] * 3, [1.0] * 3)
    assert (joined.waiting, joined.dropped) == (2, 1)
    assert joined.labels(1.0, [b"b"], [b"{"]) == []
    assert joined.unreadable == 1
    joined.expire(20.0)
    assert joined.waiting == 0


def test_a_share_of_the_keys_is_the_same_on_both_sides() -> None:
    joined, keys = errors_of(limit=10_000), [f"k{i}".encode() for i in range(4000)]
    joined.follow(0.25)
    joined.predictions(0.0, keys, ["toy"] * 4000, [1.0] * 4000)
    found = joined.labels(0.0, keys, [label(key.decode(), 2.0) for key in keys])
    assert 800 < len(found) < 1200
    assert joined.labels(0.0, keys, [label("x", 2.0)] * 4000) == []
    assert joined.waiting == 0


@pytest.mark.parametrize(
    ("scores", "predictions", "expected"),
    [
        (lambda: Scores("binary", (), float), [0.25, 0.5], [[0.25, 0.5]]),
        (lambda: Scores("binary", (), Any), [{"probability": 0.5}, "x", {"probability": 2.0}], [[0.5, None, None]]),
        (lambda: Scores("multiclass", ("a", "b"), Any), [[0.1, 0.9], {"a": 0.8, "b": 0.2}, 3],
         [[0.9, 0.8, None], ["b", "a", None]]),
        (lambda: Scores("multilabel", ("a", "b"), Any), [[0.5, 1.0]], [[1.5]]),
    ],
)  # fmt: skip
def test_predictions_of_each_task_become_columns(
    scores: Callable[[], Scores], predictions: list[Any], expected: list[list[Any]]
) -> None:
    columns = scores().columns(predictions)
    plain = [[None if value != value else value for value in column.tolist()] for column in columns]  # noqa: PLR0124 - NaN
    assert plain == expected
