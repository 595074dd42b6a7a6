"""When a rule would have begun runs: its conditions over a range of past records. Nothing is done."""

from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from headrace.contracts.events_pb2 import Alert, DatasetVersion
from headrace.contracts.rule_records import RuleMemory, RuleTrigger
from headrace.contracts.topics import ALERTS, DATASETS, LABELS
from headrace.rollouts.feed import parse, reached_end
from headrace.rules.admission import Verdict, remember, verdict
from headrace.rules.spec import RuleSpec
from headrace.rules.triggers import on_alert, on_dataset, on_labels, scheduled, times
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings

MOMENTS = 240
"""Labels are counted at so many moments of the range: a trigger's time is that much coarser."""
_QUIET = 100


class Past(NamedTuple):
    """What would have become of a trigger."""

    trigger: RuleTrigger
    verdict: Verdict


def past(settings: ServiceSettings, pipeline: str, rule: RuleSpec, from_us: int, to_us: int) -> list[Past]:
    """Every trigger of a rule from one moment to another, the oldest first. Each run is taken to end at once.

    Conditions on the error are left out: the monitor's figures are on no topic.

    Raises:
        DependencyError: Kafka does not answer.
    """
    consumer = kafka.consumer(settings, "headrace.rules.test", **{"enable.partition.eof": True})
    try:
        found = [*_records(consumer, rule, from_us, to_us), *_schedules(rule, from_us, to_us)]
        found += _labels(consumer, pipeline, rule, from_us, to_us)
    finally:
        consumer.close()
    return admitted(rule, sorted(found, key=lambda trigger: trigger.at_us))


def admitted(rule: RuleSpec, triggers: list[RuleTrigger]) -> list[Past]:
    """What becomes of triggers in their order."""
    memory, made = RuleMemory(rule=rule.name), list[Past]()
    for trigger in triggers:
        found = verdict(rule, memory, (), trigger)
        remember(memory, trigger, found, trigger.at_us)
        made.append(Past(trigger, found))
    return made


def _records(consumer: Consumer, rule: RuleSpec, from_us: int, to_us: int) -> Iterator[RuleTrigger]:
    for when, topic in (("alert", ALERTS.name()), ("dataset", DATASETS.name())):
        if not any(getattr(one, when) is not None for one in rule.when):
            continue
        for value, at_us in _between(consumer, topic, from_us, to_us):
            trigger = on_alert(rule, value, at_us) if isinstance(value, Alert) else on_dataset(rule, value, at_us)
            if trigger is not None:
                yield trigger


def _between(consumer: Consumer, topic: str, from_us: int, to_us: int) -> Iterator[tuple[Alert | DatasetVersion, int]]:
    """Committed records whose timestamps are in the range, by partition."""
    kind = Alert if topic == ALERTS.name() else DatasetVersion
    starts = _offsets(consumer, topic, from_us)
    left, quiet = set(starts), 0
    consumer.assign([TopicPartition(topic, p, offset) for p, offset in starts.items()])
    while left:
        message = consumer.poll(0.2)
        quiet = quiet + 1 if message is None else 0
        if quiet > _QUIET:
            raise DependencyError(f"{topic} cannot be read to its end", hint="is the broker up?")
        if message is None:
            continue
        if message.error() is not None:
            left -= {message.partition()} if reached_end(message) else set()
            continue
        at_us, value = message.timestamp()[1] * 1000, kind()
        if at_us >= to_us:
            left.discard(message.partition() or 0)
        elif parse(message, value):
            yield value, at_us


def _offsets(consumer: Consumer, topic: str, at_us: int) -> dict[int, int]:
    """The first offset of each partition at a time or later; its end where there is none."""
    partitions = range(kafka.partitions_of(consumer, topic))
    ends = kafka.end_offsets(consumer, topic, partitions)
    wanted = [TopicPartition(topic, p, at_us // 1000) for p in partitions]
    try:
        found = consumer.offsets_for_times(wanted, timeout=kafka.REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise kafka.translate(error, f"offsets of {topic} by time") from error
    return {at.partition: at.offset if at.offset >= 0 else ends[at.partition] for at in found}


def _schedules(rule: RuleSpec, from_us: int, to_us: int) -> Iterator[RuleTrigger]:
    for i, when in ((i, one.schedule) for i, one in enumerate(rule.when) if one.schedule is not None):
        for due in times(when, from_us, to_us):
            yield scheduled(i, when, due)


def _labels(consumer: Consumer, pipeline: str, rule: RuleSpec, from_us: int, to_us: int) -> Iterator[RuleTrigger]:
    if not any(one.labels is not None for one in rule.when):
        return
    memory, topic = RuleMemory(rule=rule.name), LABELS.name(pipeline)
    for moment in range(MOMENTS + 1):
        at_us = from_us + (to_us - from_us) * moment // MOMENTS
        yield from on_labels(rule, memory, sum(_offsets(consumer, topic, at_us).values()), at_us)
