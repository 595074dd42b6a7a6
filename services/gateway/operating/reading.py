"""Reading for operators: the newest records of a topic, and a version's lineage."""

import time
from collections.abc import Mapping
from typing import Any

from headrace.contracts.events_pb2 import CheckpointPublished, WeightsApplied
from headrace.contracts.plain_values import plain_value, text
from headrace.rollouts.history import RolloutHistory
from headrace.rollouts.lineage import lineage_of
from headrace.rollouts.reading import APPLIED, CHECKPOINTS, ROLLOUTS, read_history
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.topic_reader import TopicReader, resolve
from services.gateway.errors import UnknownError

_REPORTS_S = 7 * 86_400.0


class _Heard(RolloutHistory):
    """Keeps the checkpoints too, and which workers served which version."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.published: list[CheckpointPublished] = []
        self.served: dict[tuple[str, int], set[str]] = {}

    def on_checkpoint(self, published: CheckpointPublished, at_us: int) -> None:
        """See `RolloutHistory.on_checkpoint`."""
        super().on_checkpoint(published, at_us)
        published.manifest = b""  # megabytes over a long run, and no part of the lineage
        self.published.append(published)

    def on_report(self, report: WeightsApplied) -> None:
        """See `RolloutHistory.on_report`."""
        super().on_report(report)
        if report.state == WeightsApplied.ACTIVE:
            self.served.setdefault((report.model, report.version), set()).add(report.worker)


def lineage(settings: ServiceSettings, model: str, version: int) -> Mapping[str, Any]:
    """What a version learned from, what made it, and who served it.

    Raises:
        UnknownError: no such version was published.
        DependencyError: Kafka does not answer.
    """
    heard = _Heard(model)
    read_history(settings, heard, {CHECKPOINTS: 0, ROLLOUTS: 0, APPLIED: time.time() - _REPORTS_S})
    found = lineage_of(heard.published, model, version)
    if found is None:
        raise UnknownError(f"no version {version} of {model} was published")
    every = heard.versions(1 << 30)
    status = next((one for one in every if (one.model, one.version) == (model, version)), None)
    return {"lineage": found, "status": status, "workers": sorted(heard.served.get((model, version), ()))}


def newest_records(settings: ServiceSettings, pipeline: str, topic: str, number: int) -> Mapping[str, Any]:
    """The newest committed records of a topic, the newest first, decoded.

    Raises:
        ConfigError: there is no such topic.
        DependencyError: Kafka does not answer.
    """
    consumer = kafka.consumer(settings, f"headrace.page.{settings.instance}", **{"enable.partition.eof": True})
    try:
        name = resolve(topic, kafka.metadata(kafka.admin(settings)), pipeline)
        found = TopicReader(consumer, name).last(number)
    finally:
        consumer.close()
    records = []
    for message in reversed(found):
        key = message.key()
        records.append({
            "partition": message.partition(), "offset": message.offset(), "at_ms": message.timestamp()[1],
            "key": None if key is None else text(key), "value": plain_value(name, message.value()),
        })  # fmt: skip
    return {"topic": name, "records": records}
