"""Delivering alerts to a webhook, at least once: a group's offsets say what was delivered.

The order of durable effects: 1. read alerts; 2. post them; 3. commit their offsets. If the process dies between 2 and 3
they are posted again, with the same `X-Headrace-Delivery`. Alerts that the webhook does not take within `retry_s` are
given up, and logged.
"""

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from google.protobuf.message import DecodeError

from headrace.alerts.policy import at_least
from headrace.alerts.state import as_plain
from headrace.alerts.webhooks import DeliveryError, Webhook, body_of, post
from headrace.contracts import topics
from headrace.contracts.events_pb2 import Alert
from headrace.runtime import kafka
from headrace.runtime.lifecycle import Stop
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from services.drift import metrics
from services.drift.hub import Hub

log = get_logger("headrace.drift.webhooks")
_MOST = 100
_LONGEST_PAUSE_S = 30.0


class Delivery:
    """One webhook's delivery, in a thread of its own, so that one that does not answer delays no other."""

    def __init__(
        self,
        settings: ServiceSettings,
        hook: Webhook,
        *,
        pipeline: str,
        models: frozenset[str],
        hub: Hub,
        send: Callable[[Webhook, bytes, str, float], None] = post,
    ) -> None:
        self._settings, self._hook, self._pipeline = settings, hook, pipeline
        self._models, self._hub, self._send = models, hub, send
        self._consumer: Consumer | None = None

    def open(self) -> None:
        """Begin where the last one stopped; of a new webhook with the alerts from now on.

        Raises:
            DependencyError: the broker does not answer.
        """
        group = f"headrace.webhooks.{self._pipeline}.{self._hook.name}"
        self._consumer = kafka.consumer(self._settings, group)
        topic = topics.ALERTS.name()
        lanes = [TopicPartition(topic, p) for p in range(kafka.partitions_of(self._consumer, topic))]
        try:
            start = kafka.patiently(
                lambda: self._reader.committed(lanes, timeout=kafka.REQUEST_TIMEOUT_S), f"offsets of {group}"
            )
            ends = kafka.end_offsets(self._consumer, topic, range(len(lanes)))
            new = [p for p in start if p.offset < 0]
            for lane in new:
                lane.offset = ends[lane.partition]
            self._consumer.assign(start)
            if new:
                self._consumer.commit(offsets=new, asynchronous=False)
        except KafkaException as error:
            raise kafka.translate(error, f"beginning to deliver to webhook {self._hook.name}") from error

    def run(self, stop: Stop) -> None:
        """Deliver until `stop` is set."""
        try:
            while not stop.is_set():
                messages = [kafka.check(message) for message in self._reader.consume(_MOST, 0.2)]
                if messages and not self._deliver(messages, stop):
                    return
        finally:
            self._reader.close()

    def _deliver(self, messages: list[Message], stop: Stop) -> bool:
        """Post and commit; False if it was stopped before."""
        wanted = [alert for message in messages if (alert := self._wanted(message)) is not None]
        if wanted:
            body = body_of(self._pipeline, wanted, time.time())
            if not self._post(body, len(wanted), _named(messages), stop):
                return False
        ends = {(m.topic(), m.partition()): (m.offset() or 0) + 1 for m in messages}
        offsets = [TopicPartition(topic or "", partition or 0, offset) for (topic, partition), offset in ends.items()]
        try:
            self._reader.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("offsets not committed; the alerts may be posted again", error=str(error))
        return True

    def _post(self, body: bytes, count: int, delivery: str, stop: Stop) -> bool:
        """Post until it is taken or given up; False if it was stopped before."""
        started, pause, name = time.monotonic(), 1.0, self._hook.name
        while True:
            try:
                self._send(self._hook, body, delivery, time.time())
            except DeliveryError as error:
                if error.lasting or time.monotonic() - started + pause > self._hook.retry_s:
                    log.error("alerts given up", webhook=name, alerts=count, why=str(error))  # noqa: TRY400
                    metrics.WEBHOOK_ALERTS.labels(self._pipeline, name, "given_up").inc(count)
                    return True
                log.warning("not delivered", webhook=name, why=str(error), again_in_s=pause)
                metrics.WEBHOOK_ALERTS.labels(self._pipeline, name, "retried").inc(count)
            else:
                metrics.WEBHOOK_ALERTS.labels(self._pipeline, name, "delivered").inc(count)
                return True
            if stop.wait(pause):
                return False
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _wanted(self, message: Message) -> dict[str, Any] | None:
        try:
            alert = Alert.FromString(message.value() or b"")
        except DecodeError:
            return None
        severity = Alert.Severity.Name(alert.severity)
        if alert.model not in self._models or not at_least(severity, self._hook.severity):
            return None
        # The end of an alert is told to whoever was told of its start.
        silenced = self._hub.is_silenced(alert.id) if alert.firing else alert.silenced
        return None if silenced else as_plain(alert)

    @property
    def _reader(self) -> Consumer:
        assert self._consumer is not None
        return self._consumer


def _named(messages: list[Message]) -> str:
    """Names the records: the same ones have the same name."""
    first = messages[0]
    return f"{first.partition()}-{first.offset()}-{len(messages)}"
