"""What a chunk app's transport is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from confluent_kafka import Consumer, Producer

from headrace.streams.buffer import Limits
from headrace.streams.flow import AgentFlow, Flow
from headrace.streams.membership import Membership

Commit = Literal["acknowledged", "transactions"]


@dataclass
class ChunkOptions:
    """What a chunk app's transport is made of.

    `make_consumer(protocol)` makes a consumer of the group for the group protocol "consumer" or, where the broker does
    not have it, "classic". `commit` says who commits offsets: Faust, for what agents have acknowledged (at least once),
    or nobody here, since transactions carry them. `most_per_round` bounds the records that one round hands out.
    """

    make_consumer: Callable[[str], Consumer]
    make_producer: Callable[[], Producer]
    commit: Commit = "acknowledged"
    flow: Flow = field(default_factory=AgentFlow)
    membership: Membership = field(default_factory=Membership)
    limits: Limits = field(default_factory=Limits)
    most_per_round: int = 10_000
    reset: str = "earliest"
