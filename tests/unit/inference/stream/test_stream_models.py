"""Champion, canaries and shadows over the same chunks: who answers each event, and whose failures reach nobody."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import torch
from torch import nn

from headrace.contracts.events_pb2 import DeadLetter
from headrace.contracts.records import Prediction
from headrace.model.pipeline import Pipeline
from headrace.model.port import Model
from headrace.model.spec import PipelineSpec
from headrace.streams.chunks import Chunk
from headrace.streams.isolation import Breaker
from headrace.streams.memory import MemoryRecord
from headrace.weights import Bound, StaticWeights
from services.inference.routing import Router
from services.inference.runner import ModelRunner
from services.inference.stream.outgoing import LONGEST
from services.inference.stream.service import StreamPredictor
from services.inference.stream.variants import Variant

KEYS = [f"k{i}" for i in range(400)]


class Event(msgspec.Struct):
    id: str
    x: float


class Label(msgspec.Struct):
    id: str
    y: float


class Times(Model[Event, Label]):
    """x times a factor; raises for x in `refuses`, NaN for x in `loses`."""

    key = "id"

    def __init__(self, factor: float, refuses: Sequence[float] = (), loses: Sequence[float] = ()) -> None:
        self.factor, self.refuses, self.loses = factor, refuses, loses

    def network(self) -> nn.Module:
        line = nn.Linear(1, 1, bias=False)
        nn.init.constant_(line.weight, self.factor)
        return line

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        if any(event.x in self.refuses for event in events):
            raise ValueError("cannot")
        return torch.tensor([[float("nan") if event.x in self.loses else event.x] for event in events])

    def loss(self, outputs, labels):
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].tolist()

    def error(self, prediction, label):
        return 0.0


class Spoils(Times):
    """Writes into the events that it is given."""

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        for event in events:
            event.id, event.x = "spoilt", -1.0
        return super().features(events)


class Talks(Times):
    """Predicts more than the broker takes, and what is no JSON."""

    def predictions(self, outputs: torch.Tensor) -> Sequence[Any]:
        return ["x" * (LONGEST + 1) if x == 0 else object() if x == 1 else "fine" for x in outputs[:, 0].tolist()]


class Seen:
    """Keeps everything that the predictor and its models report."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.made: dict[str, int] = {}
        self.failed: dict[tuple[str, str], int] = {}

    def phase(self, name, seconds):
        """Not of interest."""

    def dead(self, phase, records):
        """Seen on the output."""

    def bound(self, version):
        self.versions["toy"] = version

    def model_bound(self, model, version):
        self.versions[model] = version

    def model_predicted(self, model, records):
        self.made[model] = self.made.get(model, 0) + records

    def model_failed(self, model, phase, records):
        self.failed[model, phase] = self.failed.get((model, phase), 0) + records


class Stream:
    """A predictor with a champion that multiplies by 2 and whatever models a test adds."""

    def __init__(
        self, *variants: tuple[dict[str, Any], Times, StaticWeights | None], champion: Times | None = None
    ) -> None:
        sections = [{"model": "model.py:Times", **section} for section, _, _ in variants]
        spec = PipelineSpec(name="toy", model="model.py:Times", models=sections)
        others = [Pipeline(Path(), spec, model, v) for v, (_, model, _) in zip(spec.models, variants, strict=True)]
        champion = champion or Times(2)
        pipeline = Pipeline(Path(), spec, champion, others=tuple(others))
        self.seen, self.clock = Seen(), 0.0
        self.champion = StaticWeights(champion.network(), model="toy", version=7)
        runners = [
            ModelRunner(one, weights or StaticWeights(one.model.network(), version=i + 1))
            for i, (one, (_, _, weights)) in enumerate(zip(others, variants, strict=True))
        ]
        self._predictor = StreamPredictor(
            pipeline, ModelRunner(pipeline, self.champion), Breaker(), self.seen,
            variants=runners, clock=lambda: self.clock,
        )  # fmt: skip

    def run(self, values: Sequence[bytes | None], *, header: bool = False) -> None:
        records = [
            MemoryRecord(
                v, b"kafka", "toy.events", 1, i, 1000 + i, [("traceparent", b"t")] if header and not i else None
            )
            for i, v in enumerate(values)
        ]
        output = self._predictor.process([Chunk("toy.events", 1, records)])
        self.output = output
        encoded = [(b.topic, r["value"]) for b in output.batches for r in b.records]
        encoded += [(s.topic, s.value) for s in output.singles if not s.topic.endswith(".dlq")]
        self.served = [msgspec.json.decode(v, type=Prediction[float]) for t, v in encoded if t == "toy.predictions"]
        self.shadows = [msgspec.json.decode(v, type=Prediction[Any]) for t, v in encoded if t == "toy.shadows"]
        self.letters = [DeadLetter.FromString(s.value) for s in output.singles if s.topic.endswith(".dlq")]


def canary(share: float = 0.25, name: str = "c", **more: Any) -> dict[str, Any]:
    return {"name": name, "role": "canary", "share": share, **more}


SHADOW = {"name": "s", "role": "shadow"}


def events(keys: Sequence[str] = KEYS, first: float = 0.0) -> list[bytes]:
    return [msgspec.json.encode(Event(key, first + i)) for i, key in enumerate(keys)]


def of_canary(share: float, start: float = 0.0) -> set[str]:
    (chosen,) = Router([(start, start + share)]).route(KEYS)
    return {KEYS[i] for i in chosen}


@pytest.mark.parametrize("header", [False, True])
def test_each_event_is_answered_once_in_order_by_the_model_that_its_key_says(header: bool) -> None:
    """And the prediction names that model, its version and its checkpoint."""
    stream = Stream((canary(), Times(3), None), (canary(0.1, "d", start=0.5), Times(5), None))
    stream.run(events(), header=header)
    assert [p.source for p in stream.served] == [(1, i) for i in range(len(KEYS))]
    parts = {"toy.c": of_canary(0.25), "toy.d": of_canary(0.1, 0.5)}
    parts["toy"] = set(KEYS) - parts["toy.c"] - parts["toy.d"]
    for model, (factor, version) in {"toy": (2, 7), "toy.c": (3, 1), "toy.d": (5, 2)}.items():
        mine = [p for p in stream.served if p.model == model]
        assert {p.key for p in mine} == parts[model]
        assert all((p.prediction, p.version) == (factor * p.source[1], version) for p in mine)
        assert len({p.checkpoint for p in mine}) == 1
        assert stream.seen.made[model] == len(mine)
    assert len({p.checkpoint for p in stream.served}) == 3
    assert stream.shadows == []


def test_a_shadow_predicts_every_event_on_a_topic_of_its_own_and_answers_none() -> None:
    stream = Stream((SHADOW, Times(3), None), ({**SHADOW, "name": "t"}, Times(4), None))
    stream.run(events())
    assert {p.model for p in stream.served} == {"toy"}
    for model, factor in (("toy.s", 3), ("toy.t", 4)):
        mine = [p for p in stream.shadows if p.model == model]
        assert [(p.key, p.prediction, p.source) for p in mine] == [(k, factor * i, (1, i)) for i, k in enumerate(KEYS)]
    assert {(b.topic, b.partition) for b in stream.output.batches} == {("toy.predictions", 1), ("toy.shadows", 1)}


@pytest.mark.parametrize("bad", [{"refuses": [5.0, 17.0]}, {"loses": [5.0, 17.0]}])
def test_what_a_shadow_cannot_predict_is_left_out_and_counted(bad: dict[str, Any]) -> None:
    stream = Stream((SHADOW, Times(3, **bad), None))
    stream.run(events())
    assert (len(stream.served), len(stream.letters)) == (len(KEYS), 0)
    assert {p.source[1] for p in stream.shadows} == set(range(len(KEYS))) - {5, 17}
    assert sum(stream.seen.failed.values()) == 2
    assert stream.output.dead == 0


@pytest.mark.parametrize("bad", ["refuses", "loses"])
def test_a_shadow_that_fails_on_everything_harms_nothing(bad: str) -> None:
    everything = [float(i) for i in range(len(KEYS))]
    stream = Stream((SHADOW, Times(3, **{bad: everything}), None))
    stream.run(events())
    assert [p.prediction for p in stream.served] == [2.0 * i for i in range(len(KEYS))]
    assert (stream.shadows, stream.letters) == ([], [])
    assert sum(stream.seen.failed.values()) == len(KEYS)


def test_a_shadow_that_writes_into_events_does_not_reach_what_is_served() -> None:
    stream = Stream((SHADOW, Spoils(3), None))
    stream.run(events())
    assert [(p.key, p.prediction) for p in stream.served] == [(key, 2.0 * i) for i, key in enumerate(KEYS)]
    assert [p.key for p in stream.shadows] == KEYS


def test_a_canary_that_writes_into_events_does_not_change_their_keys() -> None:
    stream = Stream((canary(), Spoils(3), None), (SHADOW, Times(4), None))
    stream.run(events())
    assert [p.key for p in stream.served] == [p.key for p in stream.shadows] == KEYS
    assert {p.key for p in stream.served if p.model == "toy.c"} == of_canary(0.25)


def test_predictions_of_a_shadow_that_cannot_be_written_are_left_out() -> None:
    stream = Stream((SHADOW, Talks(1), None))
    stream.run(events())
    assert len(stream.served) == len(KEYS)
    assert {p.source[1] for p in stream.shadows} == set(range(2, len(KEYS)))
    assert stream.seen.failed == {("toy.s", "encode"): 2}


def test_models_without_a_version_wait_and_the_champion_answers() -> None:
    stream = Stream((canary(), Times(3), StaticWeights(None)), (SHADOW, Times(4), StaticWeights(None)))
    with structlog.testing.capture_logs() as lines:
        stream.run(events())
    assert [(line["model"], line["phase"]) for line in lines] == [("toy.c", "weights"), ("toy.s", "weights")]
    assert {p.model for p in stream.served} == {"toy"}
    assert stream.shadows == []
    assert stream.seen.failed == {("toy.c", "weights"): len(of_canary(0.25)), ("toy.s", "weights"): len(KEYS)}


@pytest.mark.parametrize("bad", ["refuses", "loses"])
def test_what_a_canary_cannot_answer_the_champion_does(bad: str) -> None:
    """In its place among the others, so that the order of a key's predictions holds."""
    mine = sorted(KEYS.index(key) for key in of_canary(0.25))
    stream = Stream((canary(), Times(3, **{bad: [float(mine[0]), float(mine[1])]}), None))
    stream.run(events())
    assert [p.source[1] for p in stream.served] == list(range(len(KEYS)))
    assert {p.source[1] for p in stream.served if p.model == "toy.c"} == set(mine[2:])
    assert stream.letters == []
    assert all(p.prediction == 2 * p.source[1] for p in stream.served if p.model == "toy")


def test_a_canary_that_fails_on_everything_leaves_all_to_the_champion() -> None:
    stream = Stream((canary(1.0), Times(3, refuses=[float(i) for i in range(len(KEYS))]), None))
    stream.run(events())
    assert [(p.model, p.prediction) for p in stream.served] == [("toy", 2.0 * i) for i in range(len(KEYS))]
    assert stream.seen.failed == {("toy.c", "features"): len(KEYS)}


def test_only_what_no_model_in_charge_can_predict_is_a_dead_letter() -> None:
    """The champion is not asked for what its canary answers; of what both refuse, the letter names the champion."""
    mine = {KEYS.index(key) for key in of_canary(0.25)}
    both, champions = min(mine), min(set(range(len(KEYS))) - mine)
    canarys = max(mine)
    stream = Stream(
        (canary(), Times(3, refuses=[float(both)]), None), (SHADOW, Times(4), None),
        champion=Times(2, refuses=[float(both), float(champions), float(canarys)]),
    )  # fmt: skip
    stream.run([*events(), b"{"])
    assert sorted(letter.offset for letter in stream.letters) == sorted([both, champions, len(KEYS)])
    assert {(letter.model, letter.model_version) for letter in stream.letters} == {("toy", 7)}
    assert len(stream.served) == len(KEYS) - 2
    assert len(stream.shadows) == len(KEYS), "a shadow predicts what could be decoded, whoever else cannot"


class Swaps:
    """Weights whose every lease is another version, and which know how many are out."""

    model = "swaps"

    def __init__(self, journal: list[str], name: str) -> None:
        self.journal, self.name, self._inner = journal, name, StaticWeights(Times(3).network(), version=1)

    @property
    def version(self) -> int:
        return self._inner.version

    def start(self) -> None:
        """Nothing to follow."""

    def stop(self) -> None:
        """Nothing to stop."""

    def wait_ready(self, timeout: float | None = None) -> bool:
        return True

    def lease(self) -> "Swaps":
        return self

    def __enter__(self) -> Bound:
        self.journal.append(f"+{self.name}")
        with self._inner.lease() as bound:
            bound.network.register_forward_pre_hook(lambda *_: self.journal.append(self.name))
            self._inner.swap(Times(3).network(), self._inner.version + 1)
            return bound

    def __exit__(self, *_: object) -> None:
        self.journal.append(f"-{self.name}")


def test_every_models_version_is_bound_once_a_round_before_anything_is_predicted() -> None:
    journal: list[str] = []
    stream = Stream((canary(), Times(3), Swaps(journal, "c")), (SHADOW, Times(3), Swaps(journal, "s")))  # type: ignore[arg-type]
    stream.run(events())
    assert journal == ["+c", "+s", "c", "s", "-s", "-c"]
    assert {p.version for p in stream.served if p.model == "toy.c"} == {1}
    stream.run(events())
    assert {p.version for p in stream.shadows} == {2}
    assert stream.seen.versions == {"toy": 7, "toy.c": 2, "toy.s": 2}


def test_failures_are_logged_at_most_every_ten_seconds_with_all_that_were_meanwhile() -> None:
    stream = Stream((SHADOW, Times(3, refuses=[5.0]), None))
    with structlog.testing.capture_logs() as lines:
        for at in (0.0, 3.0, 9.0, 11.0):
            stream.clock = at
            stream.run(events())
    assert stream.seen.failed == {("toy.s", "features"): 4}
    assert [(line["model"], line["records"], line["error"]) for line in lines] == [
        ("toy.s", 1, "ValueError: cannot"),
        ("toy.s", 3, "ValueError: cannot"),
    ]


def test_a_champion_is_no_further_model() -> None:
    pipeline = Pipeline(Path(), PipelineSpec(name="toy", model="model.py:Times"), Times(2))
    with pytest.raises(ValueError, match="champion"):
        Variant(ModelRunner(pipeline, StaticWeights(None)), Seen())
