"""The section `kafka`: topics with their offsets, and how far each consumer group is behind, by partition."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

_LATEST, _EARLIEST = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_TIMEOUT_S = 5.0
_GROUPS_S = 5.0
"""Topics, groups and the oldest offsets are asked for again after so long; newest and committed offsets each time."""

_RATE_S = 5.0
"""Rates are over so many seconds, as the monitor's are."""

Place = tuple[str, int]
"""Topic and partition."""


class _Known(NamedTuple):
    """What changes rarely."""

    at: float
    topics: dict[str, int]
    begins: dict[Place, int]
    groups: dict[str, str]


class _Before(NamedTuple):
    """The newest offsets at one look."""

    at: float
    ends: dict[Place, int]


class ConsumersSection:
    """`{"topics": [...], "groups": [...]}`; lags are of committed offsets. It asks the broker in a thread."""

    period_s = 0.8

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None
        self._known: _Known | None = None
        self._before: deque[_Before] = deque()

    async def look(self) -> bytes:
        """See `Section.look`."""
        return await asyncio.to_thread(self._look)

    def first(self) -> Mapping[str, bytes]:
        """See `Section.first`."""
        return {}

    async def close(self) -> None:
        """See `Section.close`."""
        self._admin = self._known = None
        self._before.clear()

    def _look(self) -> bytes:
        try:
            if self._admin is None:
                self._admin = kafka.admin(self._settings)
            if self._known is None or time.monotonic() > self._known.at + _GROUPS_S:
                self._known = _known(self._admin)
            return msgspec.json.encode(self._said(self._admin, self._known))
        except KafkaException as error:
            self._known = None
            raise kafka.translate(error, "asking for the consumers' lag") from error

    def _said(self, admin: AdminClient, known: _Known) -> dict[str, Any]:
        places = [(topic, partition) for topic, count in known.topics.items() for partition in range(count)]
        ends, now = _offsets(admin, places, _LATEST), time.monotonic()
        before = self._since(_Before(now, ends))
        groups = [_group(name, known, ends, committed) for name, committed in _committed(admin, known.groups).items()]
        return {
            "topics": [_topic(name, known, ends, before, now) for name in known.topics],
            "groups": [group for group in groups if group["partitions"]],
        }

    def _since(self, newest: "_Before") -> "_Before | None":
        """The offsets of some seconds ago, with which the newest are compared."""
        while self._before and self._before[0].at < newest.at - _RATE_S:
            self._before.popleft()
        self._before.append(newest)
        return self._before[0] if len(self._before) > 1 else None


def _known(admin: AdminClient) -> _Known:
    names = {name: count for name, count in sorted(kafka.metadata(admin).items()) if not name.startswith("__")}
    places = [(topic, partition) for topic, count in names.items() for partition in range(count)]
    listed = admin.list_consumer_groups(request_timeout=_TIMEOUT_S).result()
    groups = {group.group_id: group.state.name.lower() for group in listed.valid}
    return _Known(time.monotonic(), names, _offsets(admin, places, _EARLIEST), groups)


def _offsets(admin: AdminClient, places: Iterable[Place], which: Any) -> dict[Place, int]:
    asked = {TopicPartition(topic, partition): which for topic, partition in places}
    found = admin.list_offsets(asked, request_timeout=_TIMEOUT_S) if asked else {}
    return {(at.topic, at.partition): int(future.result().offset) for at, future in found.items()}


def _committed(admin: AdminClient, groups: Iterable[str]) -> dict[str, Sequence[TopicPartition]]:
    """What each group has committed; the requests are under way together."""
    asked = {
        name: admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)], request_timeout=_TIMEOUT_S)[name]
        for name in groups
    }
    return {name: future.result().topic_partitions for name, future in asked.items()}


def _topic(name: str, known: _Known, ends: Mapping[Place, int], before: _Before | None, now: float) -> dict[str, Any]:
    """A topic: its records' offsets, and how many offsets a second were written lately."""
    places = [(name, partition) for partition in range(known.topics[name])]
    newest = [ends.get(place, 0) for place in places]
    rate = None
    if before is not None and all(place in before.ends for place in places):
        written = sum(newest) - sum(before.ends[place] for place in places)
        rate = round(max(0, written) / max(1e-3, now - before.at), 1)
    return {"topic": name, "oldest": [known.begins.get(place, 0) for place in places], "newest": newest, "rate": rate}


def _group(name: str, known: _Known, ends: Mapping[Place, int], committed: Sequence[TopicPartition]) -> dict[str, Any]:
    there = [at for at in sorted(committed, key=_place) if at.offset >= 0 and _place(at) in ends]
    lags = [max(0, ends[_place(at)] - at.offset) for at in there]
    partitions = [
        {"topic": at.topic, "partition": at.partition, "committed": at.offset, "lag": lag}
        for at, lag in zip(there, lags, strict=True)
    ]
    return {"group": name, "state": known.groups.get(name, ""), "lag": sum(lags), "partitions": partitions}


def _place(at: TopicPartition) -> Place:
    return at.topic, at.partition
