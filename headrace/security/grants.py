"""What each role may do on Kafka: which topics of the catalogue it reads and writes, and nothing else.

One principal a role, of the role's name. Every role may look at the settings of the pipeline's and the system's topics
(Describe), to find out that they are there. Groups and transactional ids are granted by prefix, since they hold the
pipeline's, the model's or the host's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.contracts.topics import (
    ALERTS,
    APPLIED,
    AUDIT,
    CATALOGUE,
    CHECKPOINTS,
    DATASETS,
    DRIFT,
    EVENTS,
    EXAMPLES,
    KEYS,
    LABELLING,
    LABELS,
    METRICS,
    OPERATIONS,
    PREDICTIONS,
    REFUSALS,
    REPLAYS,
    ROLLOUTS,
    RULES,
    SHADOWS,
    SILENCES,
    TopicSpec,
)

Topics = tuple[TopicSpec, ...]


@dataclass(frozen=True)
class Grant:
    """What one principal may do."""

    reads: Topics = ()
    writes: Topics = ()
    letters: Topics = ()
    """Topics whose dead letters it writes."""
    reads_letters: Topics = ()
    """Topics whose dead letters it reads."""
    groups: tuple[str, ...] = ()
    """Prefixes of consumer groups; `{pipeline}` stands for each pipeline's name."""
    looks_at: tuple[str, ...] = ()
    """Prefixes of groups whose positions it reads."""
    transactions: tuple[str, ...] = ()
    """Prefixes of transactional ids."""
    creates: bool = False
    """Topics."""


_FLOW = (EVENTS, LABELS, EXAMPLES, PREDICTIONS, SHADOWS)

EVERYBODY = Grant(reads=(KEYS,), writes=(AUDIT,), groups=("headrace.keys.",))
"""What every role needs beside its own: each has a port, and may be told to ask callers for keys."""

GRANTS: Mapping[str, Grant] = {
    "trainer": Grant(
        reads=(EXAMPLES, CHECKPOINTS, REFUSALS, APPLIED, ROLLOUTS),
        writes=(CHECKPOINTS, REFUSALS),
        letters=(EXAMPLES,),
        groups=("headrace.trainer.",),
        transactions=("headrace.trainer.",),
    ),
    "stream": Grant(
        reads=(EVENTS, ROLLOUTS),
        writes=(PREDICTIONS, SHADOWS),
        letters=(EVENTS,),
        groups=("{pipeline}.stream", "headrace.directives."),
        transactions=("{pipeline}.stream",),
    ),
    "join": Grant(
        reads=(EVENTS, LABELS),
        writes=(EXAMPLES,),
        letters=(EVENTS, LABELS),
        groups=("headrace.join.",),
        transactions=("headrace.join.",),
    ),
    "coordinator": Grant(
        reads=(CHECKPOINTS, OPERATIONS, ROLLOUTS, APPLIED, ALERTS),
        writes=(ROLLOUTS,),
        groups=("headrace.coordinator",),
        transactions=("headrace.coordinator",),
    ),
    "agent": Grant(reads=(ROLLOUTS,), writes=(APPLIED,), groups=("headrace.directives.",)),
    "monitor": Grant(
        reads=(*_FLOW, CHECKPOINTS, REFUSALS, ROLLOUTS, APPLIED, ALERTS),
        writes=(ALERTS,),
        reads_letters=CATALOGUE,
        groups=("headrace.monitor.",),
        looks_at=("headrace.", "{pipeline}."),
    ),
    "ingest": Grant(writes=(EVENTS, LABELS), letters=(EVENTS, LABELS)),
    "rpc": Grant(reads=(ROLLOUTS,), groups=("headrace.directives.",)),
    "gateway": Grant(  # the page shows every topic, rolls back and deploys, and puts dead letters back
        reads=CATALOGUE,
        writes=(OPERATIONS, REPLAYS, EVENTS, LABELS, EXAMPLES),
        reads_letters=CATALOGUE,
        groups=("headrace.",),
        looks_at=("headrace.", "{pipeline}."),
        transactions=("headrace.dlq.",),
    ),
    "archive": Grant(reads=(*_FLOW, METRICS), writes=(METRICS,), groups=("headrace.archive.",), creates=True),
    "datasets": Grant(reads=CATALOGUE, writes=(DATASETS,), groups=("headrace.",)),
    "labelling": Grant(
        reads=(*_FLOW, ALERTS, LABELLING),
        writes=(LABELS, LABELLING),
        reads_letters=CATALOGUE,
        groups=("headrace.labelling.",),
        transactions=("headrace.labelling.",),
    ),
    "drift": Grant(
        reads=(*_FLOW, ALERTS, SILENCES, DRIFT),
        writes=(ALERTS, SILENCES, DRIFT),
        groups=("headrace.drift.", "headrace.webhooks.", "headrace.alerts."),
        transactions=("headrace.drift.",),
    ),
    "rules": Grant(
        reads=(LABELS, RULES, ALERTS, SILENCES, DATASETS, CHECKPOINTS, ROLLOUTS, APPLIED),
        writes=(RULES, ALERTS, OPERATIONS),
        groups=("headrace.rules.", "headrace.reader"),
        transactions=("headrace.rules.",),
    ),
    "batch": Grant(reads=(*_FLOW, CHECKPOINTS, ROLLOUTS), groups=("headrace.",)),
    "train": Grant(
        reads=(*_FLOW, CHECKPOINTS, ROLLOUTS, DATASETS),
        writes=(CHECKPOINTS,),
        groups=("headrace.",),
        transactions=("headrace.trainer.",),
    ),
    "triton-bridge": Grant(reads=(ROLLOUTS,), writes=(APPLIED,), groups=("headrace.directives.", "headrace.bridge.")),
    "operator": Grant(
        reads=CATALOGUE,
        writes=CATALOGUE,
        letters=CATALOGUE,
        reads_letters=CATALOGUE,
        groups=("headrace", "{pipeline}."),
        looks_at=("headrace", "{pipeline}."),
        transactions=("headrace", "{pipeline}."),
        creates=True,
    ),
}
"""By principal. `operator` is whoever uses the command line; it also creates topics."""
