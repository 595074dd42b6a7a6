"""The topic catalogue: every topic as data. Nobody spells a topic's name anywhere else.

The catalogue creates the topics (`headrace.runtime.kafka.ensure_topics`), documents them (`markdown_page`) and is what
the contract tests range over. Adding a topic is one `TopicSpec` here, its schema in proto/ or records.py, its producer
and its consumer.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

DEFAULT_PARTITIONS = 4
SYSTEM_PARTITIONS = 4
DEAD_LETTER_SUFFIX = ".dlq"
DEAD_LETTER_RETENTION = timedelta(days=30)


@dataclass(frozen=True)
class Topic:
    """A topic as it is to be created."""

    name: str
    partitions: int
    config: Mapping[str, str]
    may_grow: bool = False
    """One of an earlier release with fewer partitions is given more: where its records are does not matter for long."""


@dataclass(frozen=True)
class TopicSpec:
    """One kind of topic.

    `pattern` holds `{pipeline}` where each pipeline has a topic of its own. `partitions` of None means as many as the
    pipeline asks for. `retention` of None means that the newest record of each key is kept (compaction).
    """

    pattern: str
    owner: str
    key: str
    schema: str
    doc: str
    partitions: int | None = None
    retention: timedelta | None = timedelta(days=7)
    dead_letters: bool = False
    may_grow: bool = False

    @property
    def per_pipeline(self) -> bool:
        """Whether each pipeline has its own."""
        return "{pipeline}" in self.pattern

    @property
    def compacted(self) -> bool:
        """Whether Kafka keeps the newest record of every key, whatever its age."""
        return self.retention is None

    def name(self, pipeline: str = "") -> str:
        """The topic's name.

        Raises:
            ValueError: the topic is a pipeline's and no pipeline was named.
        """
        if self.per_pipeline and not pipeline:
            raise ValueError(f"topic {self.pattern!r} needs a pipeline's name")
        return self.pattern.format(pipeline=pipeline)

    def topic(self, pipeline: str = "", partitions: int = DEFAULT_PARTITIONS) -> Topic:
        """The topic to create, `partitions` being the pipeline's setting."""
        config = {"cleanup.policy": "compact"} if self.retention is None else _deleting(self.retention)
        return Topic(self.name(pipeline), self.partitions or partitions, config, self.may_grow)


def _deleting(retention: timedelta) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(int(retention.total_seconds() * 1000))}


EVENTS = TopicSpec(
    "{pipeline}.events", "ingest", "the event's key", "the pipeline's event struct (JSON)",
    "What happened, in the order of arrival within a key.", dead_letters=True,
)  # fmt: skip
LABELS = TopicSpec(
    "{pipeline}.labels", "ingest", "the event's key", "the pipeline's label struct (JSON)",
    "What turned out to be true, later. Partitioned as the events are.", dead_letters=True,
)  # fmt: skip
EXAMPLES = TopicSpec(
    "{pipeline}.examples", "ingest join", "the event's key", "records.Example (JSON)",
    "An event with its label, once.", dead_letters=True,
)  # fmt: skip
PREDICTIONS = TopicSpec(
    "{pipeline}.predictions", "inference stream", "the event's key", "records.Prediction (JSON)",
    "The sink: one prediction for every event, in the same transaction as the event's offset.",
)  # fmt: skip
SHADOWS = TopicSpec(
    "{pipeline}.shadows", "inference stream", "the event's key", "records.Prediction (JSON)",
    "What the shadow models predicted, one record for each event and shadow, in the same transaction. "
    "Only where pipeline.yaml names shadows.",
)  # fmt: skip
CHECKPOINTS = TopicSpec(
    "headrace.checkpoints", "trainer", "model", "headrace.v1.CheckpointPublished",
    "A checkpoint's weights are in the chunk stores: its manifest and the offsets that it contains.",
    partitions=SYSTEM_PARTITIONS, retention=timedelta(days=30),
)  # fmt: skip
REFUSALS = TopicSpec(
    "headrace.refusals", "trainer", "model", "headrace.v1.CheckpointRefused",
    "A checkpoint that a gate kept from being published, and why. Partitioned as the checkpoints are.",
    partitions=SYSTEM_PARTITIONS, retention=timedelta(days=30),
)  # fmt: skip
OPERATIONS = TopicSpec(
    "headrace.operations", "command line, gateway", "model", "headrace.v1.Operation",
    "An operator's requests to the coordinator. Partitioned as the checkpoints are.",
    partitions=SYSTEM_PARTITIONS,
)  # fmt: skip
ROLLOUTS = TopicSpec(
    "headrace.rollouts", "ckpt coordinator", "<model>/staged, /canary, /active or /refused",
    "headrace.v1.RolloutDirective",
    "What every agent is to do, and what a late joiner reads to catch up.",
    partitions=SYSTEM_PARTITIONS, retention=None,
)  # fmt: skip
APPLIED = TopicSpec(
    "headrace.applied", "ckpt agent", "<model>/<worker>", "headrace.v1.WeightsApplied",
    "What every worker did: joined, staged, active, failed, left; and its heartbeat.",
    partitions=SYSTEM_PARTITIONS, retention=timedelta(days=1),
)  # fmt: skip
ALERTS = TopicSpec(
    "headrace.alerts", "monitor", "model", "headrace.v1.Alert",
    "An alert that started or stopped firing. Partitioned as the checkpoints are.",
    partitions=SYSTEM_PARTITIONS, retention=timedelta(days=30), may_grow=True,
)  # fmt: skip
REPLAYS = TopicSpec(
    "headrace.replays", "command line", "topic/partition/offset/timestamp of the record", "headrace.v1.LetterReplayed",
    "Dead letters that were put back, each in the transaction that did it. Partitioned by source topic.",
    partitions=SYSTEM_PARTITIONS, retention=None,
)  # fmt: skip
METRICS = TopicSpec(
    "headrace.metrics", "archive", "pipeline", "records.Samples (JSON)",
    "Samples of every metric, taken every few seconds from the monitor and the roles; other producers may add theirs. "
    "Partitioned as the checkpoints are, by pipeline.",
    partitions=SYSTEM_PARTITIONS,
)  # fmt: skip

PIPELINE_TOPICS = (EVENTS, LABELS, EXAMPLES, PREDICTIONS, SHADOWS)
SYSTEM_TOPICS = (CHECKPOINTS, REFUSALS, OPERATIONS, ROLLOUTS, APPLIED, ALERTS, REPLAYS, METRICS)
CATALOGUE = PIPELINE_TOPICS + SYSTEM_TOPICS


def dead_letters(topic: str) -> str:
    """The topic that takes the records of `topic` that could not be processed."""
    return topic + DEAD_LETTER_SUFFIX


def pipeline_topics(pipeline: str, partitions: int = DEFAULT_PARTITIONS, *, shadows: bool = False) -> list[Topic]:
    """Every topic of one pipeline, dead letters included; all have the same number of partitions.

    `shadows` says whether the pipeline has shadow models, and so a topic for what they predict.
    """
    topics: list[Topic] = []
    for spec in PIPELINE_TOPICS:
        if spec is SHADOWS and not shadows:
            continue
        topic = spec.topic(pipeline, partitions)
        topics.append(topic)
        if spec.dead_letters:
            topics.append(Topic(dead_letters(topic.name), topic.partitions, _deleting(DEAD_LETTER_RETENTION)))
    return topics


def system_topics() -> list[Topic]:
    """The topics that all pipelines share."""
    return [spec.topic() for spec in SYSTEM_TOPICS]


def model_partition(model: str, partitions: int = SYSTEM_PARTITIONS) -> int:
    """The partition of a system topic that holds everything about `model`, whatever the record's key."""
    return zlib.crc32(model.encode()) % partitions


_PAGE = """# Topics

Every topic that Headrace uses. `headrace topics --markdown` writes this page from the catalogue in
`headrace/contracts/topics.py`.

A pipeline's topics have the number of partitions that its `pipeline.yaml` sets. Where the table says "dead letters",
records that could not be processed go to `<topic>.dlq`, which keeps them for {days} days. `headrace up`,
`headrace produce` and the roles create the topics that are missing; the broker's own creation of topics is off.

{table}"""


def markdown_page() -> str:
    """docs/topics.md, to the byte."""
    return _PAGE.format(table=_markdown_table(), days=DEAD_LETTER_RETENTION.days)


def _markdown_table() -> str:
    rows = ["| topic | owner | key | value | kept | dead letters | what |", "| --- " * 7 + "|"]
    for spec in CATALOGUE:
        kept = "newest of each key" if spec.retention is None else f"{spec.retention.days} d"
        name = f"`{spec.pattern.format(pipeline='<pipeline>')}`"
        cells = [spec.owner, spec.key, spec.schema, kept, "yes" if spec.dead_letters else "-", spec.doc]
        rows.append(f"| {name} | {' | '.join(map(_escaped, cells))} |")
    return "\n".join(rows) + "\n"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
