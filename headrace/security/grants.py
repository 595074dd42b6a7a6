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
    EVENTS,
    EXAMPLES,
    KEYS,
    LABELS,
    OPERATIONS,
    PREDICTIONS,
    REFUSALS,
    ROLLOUTS,
    SHADOWS,
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


_EDGE = (KEYS,)  # what a role with a port reads, where callers need keys

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
        reads=(
            EVENTS,
            LABELS,
            EXAMPLES,
            PREDICTIONS,
            SHADOWS,
            CHECKPOINTS,
            REFUSALS,
            ROLLOUTS,
            APPLIED,
            ALERTS,
            *_EDGE,
        ),
        writes=(ALERTS, AUDIT),
        reads_letters=CATALOGUE,
        groups=("headrace.monitor.", "headrace.keys."),
        looks_at=("headrace.", "{pipeline}."),
    ),
    "ingest": Grant(reads=_EDGE, writes=(EVENTS, LABELS, AUDIT), letters=(EVENTS, LABELS), groups=("headrace.keys.",)),
    "rpc": Grant(reads=(ROLLOUTS, *_EDGE), writes=(AUDIT,), groups=("headrace.directives.", "headrace.keys.")),
    "gateway": Grant(
        reads=(PREDICTIONS, SHADOWS, *_EDGE), writes=(AUDIT,), groups=("headrace.gateway.", "headrace.keys.")
    ),
    "batch": Grant(reads=(*CATALOGUE,), writes=(AUDIT,), groups=("headrace.",)),
    "train": Grant(
        reads=(*CATALOGUE,),
        writes=(CHECKPOINTS, AUDIT),
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
