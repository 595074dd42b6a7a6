"""Single events by their places on the events topic."""

import time
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, TopicPartition

from headrace.contracts.topics import EVENTS
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings
from services.labelling.kafka.inputs import AHEAD
from services.labelling.queues.candidates import Source

_NEAR = 2000
"""Events so near to each other are read in one go; else the reader seeks."""
_LONGEST_S = 30.0


class EventReader:
    """Reads events where they are; what was read in between is thrown away. One thread."""

    def __init__(self, settings: ServiceSettings, pipeline: str) -> None:
        self._topic = EVENTS.name(pipeline)
        self._consumer: Consumer = kafka.consumer(
            settings, f"headrace.labelling.events.{pipeline}", **AHEAD, **{"enable.partition.eof": True}
        )
        kafka.end_offsets(self._consumer, self._topic, [0])  # makes it know the leaders: its first fetch is then soon

    def fetch(self, places: Sequence[Source]) -> Mapping[Source, bytes]:
        """The events at these places, of (partition, offset); those that retention has taken are left out.

        Raises:
            DependencyError: the broker does not answer.
        """
        found: dict[Source, bytes] = {}
        for runs in _rounds(places):
            self._read(runs, set(places), found)
        return found

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def _read(self, runs: Mapping[int, tuple[int, int]], wanted: set[Source], found: dict[Source, bytes]) -> None:
        """Read one run of each partition, from its first offset to its last."""
        self._consumer.assign([TopicPartition(self._topic, p, first) for p, (first, _) in runs.items()])
        open_runs, deadline = dict(runs), time.monotonic() + _LONGEST_S
        while open_runs:
            for message in self._consumer.consume(_NEAR, 0.2):
                partition, offset = message.partition() or 0, message.offset() or 0
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
                    open_runs.pop(partition, None)
                    continue
                kafka.check(message)
                if (partition, offset) in wanted:
                    found[partition, offset] = message.value() or b""
                if partition in open_runs and offset >= open_runs[partition][1]:
                    del open_runs[partition]
            if time.monotonic() > deadline:
                raise DependencyError(f"{self._topic} cannot be read at {open_runs}", hint="is the broker up?")
        self._consumer.unassign()


def _rounds(places: Sequence[Source]) -> Iterator[dict[int, tuple[int, int]]]:
    """Places in runs of near ones, first and last offset; each round has one run of a partition at most."""
    runs: dict[int, list[tuple[int, int]]] = {}
    for partition, offset in sorted(places):
        of_partition = runs.setdefault(partition, [])
        if of_partition and offset - of_partition[-1][1] <= _NEAR:
            of_partition[-1] = (of_partition[-1][0], offset)
        else:
            of_partition.append((offset, offset))
    for i in range(max((len(some) for some in runs.values()), default=0)):
        yield {partition: some[i] for partition, some in runs.items() if i < len(some)}
