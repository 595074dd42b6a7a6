"""Records on headrace.datasets: what was made and what was removed, for whoever follows the topic."""

from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaException
from google.protobuf.message import DecodeError

from headrace.contracts import topics
from headrace.contracts.events_pb2 import DatasetVersion
from headrace.datasets import layout
from headrace.datasets.manifest import Manifest
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.topic_reader import TopicReader

log = get_logger("headrace.sets")

TOPIC = topics.DATASETS.name()
_FLUSH_S = 30.0


class Announcer(Protocol):
    """Tells others of versions."""

    def announce(self, manifest: Manifest, *, removed: bool = False) -> None:
        """Tell of a version; told once more is no harm. It is on the topic when this returns.

        Raises:
            DependencyError: Kafka does not take it.
        """
        ...

    def announced(self) -> Mapping[str, DatasetVersion]:
        """The newest record of each version, by `name@version`.

        Raises:
            DependencyError: Kafka does not answer.
        """
        ...


class MemoryAnnouncer:
    """The twin for tests."""

    def __init__(self) -> None:
        self.records: dict[str, DatasetVersion] = {}

    def announce(self, manifest: Manifest, *, removed: bool = False) -> None:
        """See `Announcer.announce`."""
        self.records[manifest.set] = record_of(manifest, removed=removed)

    def announced(self) -> Mapping[str, DatasetVersion]:
        """See `Announcer.announced`."""
        return dict(self.records)


class KafkaAnnouncer:
    """To Kafka. It connects when it is first used, and makes the topic where it is missing."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._producer: Any = None

    def announce(self, manifest: Manifest, *, removed: bool = False) -> None:
        """See `Announcer.announce`."""
        if self._producer is None:
            kafka.ensure_topics(self._settings, [topics.DATASETS.topic()])
            self._producer = kafka.producer(self._settings, **{"linger.ms": 0})
        failed: list[str] = []

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(error.str())

        record = record_of(manifest, removed=removed)
        partition = topics.model_partition(manifest.name)
        try:
            self._producer.produce(
                TOPIC, record.SerializeToString(), manifest.set.encode(), partition=partition, on_delivery=delivered
            )
            left = self._producer.flush(_FLUSH_S)
        except (KafkaException, BufferError) as error:
            raise DependencyError(f"{TOPIC}: {manifest.set} could not be announced: {error}") from error
        if failed or left:
            raise DependencyError(
                f"{TOPIC}: {manifest.set} was not announced: {failed[0] if failed else 'no answer'}",
                hint="is the broker up? The version is kept; it is announced when the same command runs again",
            )

    def announced(self) -> Mapping[str, DatasetVersion]:
        """See `Announcer.announced`. A record that cannot be decoded is passed over."""
        kafka.ensure_topics(self._settings, [topics.DATASETS.topic()])
        consumer = kafka.consumer(self._settings, "headrace.sets", **{"enable.partition.eof": True})
        found: dict[str, DatasetVersion] = {}
        try:
            for message in TopicReader(consumer, TOPIC).first(1 << 62):
                try:
                    record = DatasetVersion.FromString(message.value() or b"")
                except DecodeError:
                    where = f"{TOPIC}[{message.partition()}] at {message.offset()}"
                    log.warning("a record cannot be decoded and is passed over", record=where)
                    continue
                found[f"{record.name}@{record.version}"] = record
        finally:
            consumer.close()
        return found


def record_of(manifest: Manifest, *, removed: bool = False) -> DatasetVersion:
    """What is told of a version."""
    return DatasetVersion(
        name=manifest.name,
        version=manifest.version,
        manifest_digest=manifest.digest,
        manifest_path=layout.manifest(manifest.name, manifest.version),
        rows=manifest.rows,
        size=manifest.size,
        files=len(manifest.files),
        columns=len(manifest.columns),
        source=manifest.source.kind,
        holds=manifest.holds,
        parents=manifest.parents,
        metadata=manifest.metadata,
        created_at_us=manifest.created_us,
        import_id=manifest.import_id,
        removed=removed,
    )
