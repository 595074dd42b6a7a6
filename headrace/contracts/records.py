"""Records that Headrace itself puts on a pipeline's topics, in JSON; the pipeline's own structs are inside them.

Events and labels are the pipeline's structs as they are. Headers named here travel from an event to what is made of it.
"""

from typing import Any, Generic, Literal, TypeVar

import msgspec

from headrace.contracts.labelling import Labelling  # noqa: F401 - the value of headrace.labelling
from headrace.contracts.rule_records import RuleRecord as RuleRecord  # noqa: PLC0414 - a record like the others here

P = TypeVar("P")
E = TypeVar("E")
L = TypeVar("L")

TRACEPARENT = "traceparent"
"""W3C trace context: copied from an event to its prediction and its example where the record has it."""


class Prediction(msgspec.Struct, Generic[P], gc=False):  # tens of thousands a second, and never part of a cycle
    """One prediction on the sink topic.

    `version` and `checkpoint` (the manifest's digest) name the exact weights; `source` is the event's (partition,
    offset) on the pipeline's events topic. `event_ms` is the Kafka timestamp of the event in ms, `at_us` the time of
    the prediction in µs, both since the epoch.
    """

    key: str
    prediction: P
    model: str
    version: int
    checkpoint: str
    source: tuple[int, int]
    event_ms: int
    at_us: int


class Example(msgspec.Struct, Generic[E, L]):
    """An event and its label.

    `event_source` and `label_source` are (partition, offset) on the events and labels topics; `event_ms` and `label_ms`
    their Kafka timestamps in ms since the epoch.

    `kind`: the label is the event's first one; or the pipeline's default, because none came within the window, which
    ended at `label_ms`; or a later one that corrects the label of an earlier example. `probability` is that of the
    example to be kept, where only a part of those with its label are; `weight` is what the pipeline gives its kind.
    """

    key: str
    event: E
    label: L
    event_source: tuple[int, int]
    label_source: tuple[int, int] | None
    event_ms: int
    label_ms: int
    kind: Literal["label", "default", "corrected"] = "label"
    weight: float = 1.0
    probability: float = 1.0

    @property
    def importance(self) -> float:
        """How much the example counts in training: its weight over its probability, so that a sample stays unbiased."""
        return self.weight / self.probability


class Sample(msgspec.Struct, omit_defaults=True, frozen=True):
    """One value of one time series. `version` is 0 and the texts are empty where the series has none."""

    metric: str
    value: float
    model: str = ""
    version: int = 0
    slice: str = ""
    labels: dict[str, str] = {}


class Samples(msgspec.Struct, frozen=True):
    """What was measured at one time, in µs since the epoch. `source` says by whom: a process's name."""

    pipeline: str
    at_us: int
    source: str
    samples: list[Sample]


def example_decoder(event_type: type[Any], label_type: type[Any]) -> msgspec.json.Decoder[Any]:
    """A decoder of examples whose event and label are the pipeline's structs."""
    return msgspec.json.Decoder(Example[event_type, label_type])  # type: ignore[valid-type]


def prediction_decoder(prediction_type: Any = Any) -> msgspec.json.Decoder[Any]:
    """A decoder of predictions of the given type."""
    return msgspec.json.Decoder(Prediction[prediction_type])
