"""Appending to Kafka from an event loop: one shared idempotent producer, one future per request whatever its size."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace.contracts.records import TRACEPARENT
from headrace.runtime import kafka
from headrace.runtime.brokers import EVERY_MS, watched
from headrace.runtime.settings import ServiceSettings
from services.ingest.service import KeyedRecord


class _Delivery:
    """One request's acknowledgements, counted in the poll thread; the event loop hears once, at the last."""

    def __init__(self, expected: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Mapping[int, str]] = self._loop.create_future()
        self._left = expected
        self._failed: dict[int, str] = {}
        self._lock = threading.Lock()

    def acknowledge(self, index: int, error: KafkaError | None, _: Message | None = None) -> None:
        self._settle(index, None if error is None else f"{error.str()} [{error.name()}]")

    def refuse(self, index: int, reason: str) -> None:
        self._settle(index, reason)

    def _settle(self, index: int, reason: str | None) -> None:
        with self._lock:
            if reason is not None:
                self._failed[index] = reason
            self._left -= 1
            last = self._left == 0
        if last and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(self._failed)

    async def wait(self) -> Mapping[int, str]:
        return await self._done


class KafkaLog:
    """See `services.ingest.service.RecordLog`. A background thread serves delivery reports."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        delivery_timeout_s: float,
        linger_ms: int,
        max_in_flight: int,
        watch_ms: int = EVERY_MS,
    ) -> None:
        config: dict[str, Any] = {
            "delivery.timeout.ms": round(delivery_timeout_s * 1000),
            "linger.ms": linger_ms,
            # The bound is `max_in_flight`; the producer's own queue must never be what refuses a record.
            "queue.buffering.max.messages": max(100_000, 2 * max_in_flight),
            "queue.buffering.max.kbytes": 2_000_000,
        }
        self._producer: Producer = kafka.producer(settings, **config, **watched(watch_ms))
        self._closing = threading.Event()
        self._served: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name="deliveries", daemon=True)
        self._thread.start()

    async def append(self, topic: str, records: Sequence[KeyedRecord], traceparent: str | None) -> Mapping[int, str]:
        """See `RecordLog`."""
        delivery = _Delivery(len(records))
        if traceparent is None:
            self._batch(topic, records, delivery)
        else:
            self._singles(topic, records, traceparent, delivery)
        return await delivery.wait()

    def _batch(self, topic: str, records: Sequence[KeyedRecord], delivery: _Delivery) -> None:
        messages: list[dict[str, Any]] = [
            {"key": r.key, "value": r.value, "callback": partial(delivery.acknowledge, i)}
            for i, r in enumerate(records)
        ]
        if self._producer.produce_batch(topic, messages) == len(messages):
            return
        for index, message in enumerate(messages):
            if "_error" in message:
                delivery.refuse(index, str(message["_error"]))

    def _singles(self, topic: str, records: Sequence[KeyedRecord], traceparent: str, delivery: _Delivery) -> None:
        """`produce_batch` takes no headers."""
        headers: list[tuple[str, str | bytes | None]] = [(TRACEPARENT, traceparent.encode())]
        for index, record in enumerate(records):
            try:
                self._producer.produce(
                    topic, record.value, record.key, on_delivery=partial(delivery.acknowledge, index), headers=headers
                )
            except (BufferError, KafkaException) as error:
                delivery.refuse(index, str(error))

    async def served(self) -> None:
        """Return when it is closed.

        Raises:
            DependencyError: the producer has lost its brokers for good; nothing is acknowledged any more.
        """
        await asyncio.shield(asyncio.wrap_future(self._served))

    def _serve(self) -> None:
        try:
            while not self._closing.is_set():
                self._producer.poll(0.1)
        except BaseException as error:  # noqa: BLE001 - without this thread no request is answered: the role must end
            self._served.set_exception(error)
        else:
            self._served.set_result(None)

    def close(self, timeout_s: float) -> int:
        """Wait for what is in flight; returns how many records are still unacknowledged."""
        self._closing.set()
        self._thread.join()
        return kafka.close(self._producer, timeout_s)
