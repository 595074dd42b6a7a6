"""Records on headrace.labelling, in JSON: what is to be labelled, what people did with it, and how far was read.

Keys are `<pipeline>/item/<id>`, `<pipeline>/work/<id>` and `<pipeline>/positions`. An item's record is written once;
its work is written anew at every change. Both are deleted by tombstones. All of a pipeline is in one partition, and
what belongs together is written in one transaction.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

NULL = msgspec.Raw(b"null")

State = Literal["open", "review", "held", "published", "closed"]
"""Open: to be labelled; review: has a label and waits for a second person; held: has its label, which is about to be
published; published: the label is on the pipeline's labels topic; closed: there will be no label."""
Purpose = Literal["label", "review"]
DecisionKind = Literal["label", "review", "skip"]


class LetterOf(msgspec.Struct, omit_defaults=True):
    """The dead letter that an item comes from."""

    topic: str
    partition: int
    offset: int
    phase: str
    reason: str
    value: str = ""


class LabelItem(msgspec.Struct, tag_field="is", tag="item", omit_defaults=True):
    """Something to label.

    `event` is the event as it is on its topic, null where it is not known; `source` its partition and offset there;
    `event_ms` its Kafka timestamp, 0 where there is none. `prediction` was made by `version` of `model`. `extra` is
    what a file of Label Studio had beside.
    """

    id: str
    key: str
    event: msgspec.Raw = NULL
    source: tuple[int, int] | None = None
    event_ms: int = 0
    prediction: msgspec.Raw = NULL
    model: str = ""
    version: int = 0
    added_ms: int = 0
    letter: LetterOf | None = None
    extra: msgspec.Raw = NULL


class Lease(msgspec.Struct):
    """Who works on an item, from when to when."""

    labeller: str
    since_ms: int
    until_ms: int
    purpose: Purpose = "label"
    queue: str = ""


class Decision(msgspec.Struct, omit_defaults=True):
    """What a person decided. `label` is the whole record for the labels topic; `lead_ms` how long the person took."""

    id: str
    labeller: str
    at_ms: int
    kind: DecisionKind
    label: msgspec.Raw = NULL
    reason: str = ""
    lead_ms: int = 0
    undone_ms: int = 0
    queue: str = ""
    extra: msgspec.Raw = NULL


class Published(msgspec.Struct):
    """A label that is on the labels topic: whose decision it was, and when it was written."""

    decision: str
    at_ms: int


class LabelWork(msgspec.Struct, tag_field="is", tag="work", omit_defaults=True):
    """What became of an item so far. `queues` has its place in each of its queues: the highest is offered first.

    `due_ms` is when a held label is published; `why` says why an item is closed.
    """

    id: str
    queues: dict[str, float] = {}
    state: State = "open"
    why: str = ""
    lease: Lease | None = None
    decisions: list[Decision] = []
    due_ms: int = 0
    published: list[Published] = []


class LabelPositions(msgspec.Struct, tag_field="is", tag="positions", omit_defaults=True):
    """How far each topic was read, by topic and partition; and the slices that alerts named, by alert."""

    offsets: dict[str, dict[int, int]] = {}
    slices: dict[str, dict[str, Any]] = {}


Labelling = LabelItem | LabelWork | LabelPositions
DECODER: msgspec.json.Decoder[Labelling] = msgspec.json.Decoder(Labelling)


def item_key(pipeline: str, item: str) -> bytes:
    """The key of an item's record."""
    return f"{pipeline}/item/{item}".encode()


def work_key(pipeline: str, item: str) -> bytes:
    """The key of the record of what became of an item."""
    return f"{pipeline}/work/{item}".encode()


def positions_key(pipeline: str) -> bytes:
    """The key of the record of how far was read."""
    return f"{pipeline}/positions".encode()


def is_of(pipeline: str, key: bytes) -> bool:
    """Whether a record's key is one of the pipeline's."""
    return key.startswith(f"{pipeline}/".encode())


LABELLER, LABELLED_AT, ITEM = "headrace-labeller", "headrace-labelled-at", "headrace-label-item"
"""Headers of a label that a person gave: who, when (ISO 8601), and the item."""


def label_headers(labeller: str, at: str, item: str) -> Mapping[str, bytes]:
    """The headers of a label that a person gave."""
    return {LABELLER: labeller.encode(), LABELLED_AT: at.encode(), ITEM: item.encode()}
