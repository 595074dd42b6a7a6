"""Predicting chunks: every event becomes one prediction or one dead letter."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from headrace.contracts.events_pb2 import DeadLetter
from headrace.contracts.records import Prediction
from headrace.model.pipeline import Pipeline
from headrace.model.port import Model
from headrace.model.spec import PipelineSpec
from headrace.runtime.errors import DataError, WeightsError
from headrace.streams.chunks import Chunk, Partition
from headrace.streams.isolation import Breaker
from headrace.streams.memory import MemoryRecord, memory_chunk
from headrace.weights import StaticWeights
from services.inference.runner import ModelRunner
from services.inference.stream.service import StreamPredictor
from services.inference.stream.version_check import VersionCheck


class Event(msgspec.Struct):
    id: str
    x: float


class Label(msgspec.Struct):
    id: str
    y: float


class Doubles(Model[Event, Label]):
    """Twice x; refuses 13, and is NaN for 666."""

    key = "id"

    def network(self) -> nn.Module:
        double = nn.Linear(1, 1, bias=False)
        nn.init.constant_(double.weight, 2.0)
        return double

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        if any(event.x == 13 for event in events):
            raise ValueError("13 is unlucky")
        return torch.tensor([[float("nan") if event.x == 666 else event.x] for event in events])

    def loss(self, outputs, labels):
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].tolist()

    def error(self, prediction, label):
        return 0.0


class Written(Model[Event, Label]):
    """Predicts JSON that its author has written already, line breaks and all."""

    key = "id"

    def network(self) -> nn.Module:
        return nn.Identity()

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        return torch.tensor([[event.x] for event in events])

    def loss(self, outputs, labels):
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[msgspec.Raw]:
        return [msgspec.Raw(b'{"x":\n%d}' % x) for x in outputs[:, 0].tolist()]

    def error(self, prediction, label):
        return 0.0


class Seen:
    """Counts what a predictor reports."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.letters: dict[str, int] = {}
        self.version = 0

    def phase(self, name, seconds):
        self.phases.append(name)

    def bound(self, version):
        self.version = version

    def dead(self, phase, records):
        self.letters[phase] = self.letters.get(phase, 0) + records


class Predictor(StreamPredictor):
    def __init__(
        self, *, max_batch: int = 4096, breaker: Breaker | None = None, model: Model | None = None, **options
    ) -> None:
        spec = PipelineSpec(name="doubles", model="model.py:Doubles", stream={"max_batch": max_batch})
        model = model or Doubles()
        self.seen = Seen()
        self.weights = StaticWeights(model.network(), model="doubles", version=7)
        pipeline = Pipeline(Path(), spec, model)
        super().__init__(pipeline, ModelRunner(pipeline, self.weights), breaker or Breaker(), self.seen, **options)


def event(x: float, name: str = "a") -> bytes:
    return msgspec.json.encode(Event(name, x))


def chunk(*values: bytes | None, **options) -> Chunk:
    return memory_chunk(values, topic="doubles.events", **options)


def decoded(values) -> list[Prediction]:
    return [msgspec.json.decode(value, type=Prediction[float]) for value in values]


def letters(output) -> list[DeadLetter]:
    return [DeadLetter.FromString(s.value) for s in output.singles if s.topic == "doubles.events.dlq"]


def test_each_event_becomes_one_prediction_beside_what_made_it():
    predictor = Predictor()
    output = predictor.process([chunk(event(1.5, "x"), event(2, "y"), partition=3, first_offset=40)])
    (batch,) = output.batches
    assert (batch.topic, batch.partition) == ("doubles.predictions", 3)
    assert [r["key"] for r in batch.records] == [b"0", b"1"]
    first, second = decoded(r["value"] for r in batch.records)
    assert (first.key, first.prediction, first.source, first.event_ms) == ("x", 3.0, (3, 40), 1000)
    assert (second.key, second.prediction, second.source, second.event_ms) == ("y", 4.0, (3, 41), 1001)
    assert (first.model, first.version) == ("doubles", 7)
    with predictor.weights.lease() as bound:
        assert first.checkpoint == bound.checkpoint
    assert dict(output.offsets) == {Partition("doubles.events", 3): 42}
    assert predictor.seen.phases == ["decode", "predict", "encode"]
    assert predictor.seen.version == 7


def test_chunks_of_a_round_share_one_pass_and_keep_their_partitions():
    output = Predictor().process([chunk(event(1)), chunk(event(2), event(3), partition=1)])
    assert [(b.partition, [p.prediction for p in decoded(r["value"] for r in b.records)]) for b in output.batches] == [
        (0, [2.0]),
        (1, [4.0, 6.0]),
    ]


def test_the_forward_pass_is_split_at_the_maximum_batch():
    sizes = []
    predictor = Predictor(max_batch=8)
    with predictor.weights.lease() as bound:
        bound.network.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    output = predictor.process([chunk(*(event(i) for i in range(10)))])
    assert sizes == [8, 8], "the second has two events, and is filled up so that their rows are those of any batch"
    assert [p.prediction for p in decoded(r["value"] for r in output.batches[0].records)] == [
        2.0 * i for i in range(10)
    ]


def test_each_prediction_is_whole_even_where_its_json_has_line_breaks():
    output = Predictor(model=Written()).process([chunk(event(1, "a\nb"), event(2))])
    found = [msgspec.json.decode(record["value"]) for record in output.batches[0].records]
    assert [(p["key"], p["prediction"]) for p in found] == [("a\nb", {"x": 1}), ("a", {"x": 2})]


class Numbered(msgspec.Struct):
    id: int
    x: float


class NumberedDoubles(Model[Numbered, Label]):
    """Doubles of events whose key is a number."""

    key = "id"
    network, features, loss = Doubles.network, Doubles.features, Doubles.loss
    predictions, error = Doubles.predictions, Doubles.error


def test_a_key_that_is_a_number_stands_on_the_prediction_as_text():
    output = Predictor(model=NumberedDoubles()).process([chunk(b'{"id": 12, "x": 4}')])
    assert [(p.key, p.prediction) for p in decoded(r["value"] for r in output.batches[0].records)] == [("12", 8.0)]


def test_where_partition_counts_differ_the_key_chooses():
    output = Predictor(same_partitions=False).process([chunk(event(1), partition=5)])
    assert output.batches[0].partition is None


BAD = [
    (b"{", "decode", "DecodeError"),
    (b'{"id": "a"}', "decode", "ValidationError"),
    (b"\xff", "decode", "DecodeError"),
    (None, "decode", "DecodeError"),
    (b"", "decode", "DecodeError"),
    (event(13), "features", "ValueError"),
    (event(666), "forward", ""),
]


@pytest.mark.parametrize(("value", "phase", "kind"), BAD)
def test_a_bad_record_becomes_a_dead_letter_and_the_others_are_predicted(value, phase, kind):
    predictor = Predictor()
    values = [event(1), event(2), value, event(4)]
    records = [
        MemoryRecord(v, b"key", "doubles.events", 2, 10 + i, 1000 + i, [("h", b"1"), ("n", None)] if i == 2 else None)
        for i, v in enumerate(values)
    ]
    output = predictor.process([Chunk("doubles.events", 2, records)])
    assert [p.source for p in decoded(r["value"] for r in output.batches[0].records)] == [(2, 10), (2, 11), (2, 13)]
    (letter,) = letters(output)
    assert (letter.topic, letter.partition, letter.offset, letter.timestamp_ms) == ("doubles.events", 2, 12, 1002)
    assert letter.HasField("value") == (value is not None)
    assert letter.value == (value or b"")
    assert letter.key == b"key"
    assert [(h.name, h.value if h.HasField("value") else None) for h in letter.headers] == [("h", b"1"), ("n", None)]
    assert letter.phase == phase
    assert letter.error_type == kind
    assert letter.reason
    assert (letter.service, letter.model, letter.model_version) == ("inference-stream", "doubles", 7)
    assert output.dead == 1
    assert predictor.seen.letters == {phase: 1}
    assert dict(output.offsets) == {Partition("doubles.events", 2): 14}


def test_bad_records_of_every_kind_in_one_round_are_all_found():
    values = [v for bad, _, _ in BAD for v in (event(1), bad)]
    output = Predictor().process([chunk(*values), chunk(*values, partition=1)])
    assert sorted(letter.partition for letter in letters(output)) == [0] * len(BAD) + [1] * len(BAD)
    assert [len(b.records) for b in output.batches] == [len(BAD), len(BAD)]


def test_a_round_of_nothing_but_bad_records_still_commits_its_offsets():
    output = Predictor().process([chunk(b"{", b"}")])
    assert output.batches == []
    assert len(letters(output)) == 2
    assert dict(output.offsets) == {Partition("doubles.events", 0): 2}


@pytest.mark.parametrize("poison", [b"{", event(13), event(666)], ids=["decode", "features", "forward"])
def test_when_everything_is_bad_nothing_is_committed(poison):
    predictor = Predictor(breaker=Breaker(ratio=0.5, least=20))
    predictor.process([chunk(event(1))])
    with pytest.raises(DataError, match=r"cannot be predicted|unlucky"):
        predictor.process([chunk(*[poison] * 500)])


def broken(kind: str) -> nn.Module:
    """A version whose weights fit, and that predicts nothing."""
    network = Doubles().network()
    if kind == "raises":
        network.register_forward_pre_hook(lambda *_: 1 / 0)
    else:
        nn.init.constant_(network.weight, float(kind))
    return network


@pytest.mark.parametrize("kind", ["nan", "inf", "raises"])
def test_a_version_that_fails_on_what_was_predicted_before_buries_no_record(kind):
    predictor = Predictor()
    predictor.process([chunk(event(1), event(2))])
    predictor.weights.swap(broken(kind), 8)
    for _ in range(2):
        with pytest.raises(WeightsError, match=r"version 8 .* fails on 2 of 2 events"):
            predictor.process([chunk(event(3))])
    predictor.weights.swap(Doubles().network(), 9)
    (batch,) = predictor.process([chunk(event(3), event(666))]).batches
    assert [p.version for p in decoded(r["value"] for r in batch.records)] == [9]
    assert predictor.seen.letters == {"forward": 1}


@pytest.mark.parametrize("kind", ["nan", "raises"])
def test_a_version_that_never_predicted_anything_buries_no_record_either(kind):
    predictor = Predictor()
    predictor.weights.swap(broken(kind), 8)
    with pytest.raises(WeightsError, match=r"version 8 .* has not predicted anything yet"):
        predictor.process([chunk(event(3))])


def test_samples_speak_for_a_version_that_has_predicted_nothing_yet():
    predictor = Predictor(check=VersionCheck([Event("a", 666), Event("b", 1)]))
    assert len(letters(predictor.process([chunk(event(666))]))) == 1


def test_a_record_that_only_some_weights_can_predict_is_buried_where_the_version_predicts_what_it_did_before():
    predictor = Predictor()
    predictor.process([chunk(event(1))])
    network = Doubles().network()
    nn.init.constant_(network.weight, 1e38)
    predictor.weights.swap(network, 8)
    output = predictor.process([chunk(event(100))])
    assert [letter.model_version for letter in letters(output)] == [8]


def test_a_trace_goes_on_to_the_prediction_and_the_order_of_the_partition_is_kept():
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    records = [
        MemoryRecord(event(i), b"k", "doubles.events", 0, i, 1, [("traceparent", trace)] if i == 1 else None)
        for i in range(3)
    ]
    output = Predictor().process([Chunk("doubles.events", 0, records)])
    (batch,) = output.batches
    assert [p.source[1] for p in decoded(r["value"] for r in batch.records)] == [0, 1, 2]
    assert batch.headers == [None, [("traceparent", trace)], None]
    assert (batch.partition, output.singles) == (0, [])


def test_headers_that_no_prediction_carries_keep_the_batched_produce() -> None:
    """An application's header stays with its event."""
    records = [MemoryRecord(event(i), b"k", "doubles.events", 0, i, 1, [("ce_type", b"x")]) for i in range(3)]
    (batch,) = Predictor().process([Chunk("doubles.events", 0, records)]).batches
    assert (len(batch.records), batch.headers) == (3, None)


def test_the_version_is_bound_once_for_the_whole_round():
    predictor = Predictor()
    with predictor.weights.lease() as bound:
        bound.network.register_forward_hook(lambda *_: predictor.weights.swap(Doubles().network(), 8) and None)
    output = predictor.process([chunk(event(1)), chunk(event(2), partition=1)])
    assert {p.version for b in output.batches for p in decoded(r["value"] for r in b.records)} == {7}
    output = predictor.process([chunk(event(1))])
    assert decoded(r["value"] for r in output.batches[0].records)[0].version == 8
