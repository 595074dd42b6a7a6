"""Faust's side of the producer, for agents that send with `topic.send`.

Idempotent, acks=all, futures that the broker answers.

Transactional output does not go through here but through `headrace.streams.transactions`.
"""

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any, cast

from aiokafka.partitioner import murmur2  # type: ignore[import-untyped]
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from faust.exceptions import ProducerSendError
from faust.transport import producer as base
from faust.types import TP, RecordMetadata

from headrace.runtime import kafka
from headrace.streams.transport.host import ChunkHost

_POLL_S = 0.1
_FLUSH_S = 30.0


class ChunkProducer(base.Producer):
    """Producer on confluent-kafka; its client is made at the first send."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client: Producer | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()

    async def on_stop(self) -> None:
        """Deliver what was sent."""
        await self.flush()
        self._closing.set()
        await super().on_stop()

    async def send(  # noqa: PLR0917 - Faust's signature
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,  # noqa: ARG002 - Faust's own transactions, which this transport does not use
    ) -> Awaitable[RecordMetadata]:
        """Send, and return a future of where the record was stored."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RecordMetadata] = loop.create_future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future, error, message)

        arguments: dict[str, Any] = {"key": key, "value": value, "on_delivery": delivered}
        if partition is not None:
            arguments["partition"] = partition
        if timestamp is not None:
            arguments["timestamp"] = int(timestamp * 1000)
        if headers:
            arguments["headers"] = list(headers.items()) if hasattr(headers, "items") else list(headers)
        client = self._ensure_client()
        while True:
            try:
                client.produce(topic, **arguments)
            except BufferError:
                await asyncio.sleep(_POLL_S)
            else:
                return future

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Send and wait for the broker's acknowledgement."""
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Wait until everything that was sent is acknowledged."""
        await self.buffer.flush()
        if self._client is not None:
            left = await asyncio.to_thread(self._client.flush, _FLUSH_S)
            if left:
                raise ProducerSendError(f"{left} records were not acknowledged within {_FLUSH_S:.0f} s")

    def key_partition(self, topic: str, key: bytes) -> TP:
        """The partition of a key, as every client that uses murmur2 places it."""
        return TP(topic, (murmur2(key) & 0x7FFFFFFF) % kafka.partitions_of(self._ensure_client(), topic))

    def supports_headers(self) -> bool:
        """They are."""
        return True

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - Faust's signature
        """Topics come from the catalogue (`headrace.contracts.topics`), never from an app."""
        self.log.warning("not creating topic %s: topics come from the catalogue", topic)

    def _ensure_client(self) -> Producer:
        with self._lock:
            if self._client is None:
                self._client = cast("ChunkHost", self.app).chunks.make_producer()
                threading.Thread(target=self._poll, args=(self._client,), name="kafka-produce", daemon=True).start()
            return self._client

    def _poll(self, client: Producer) -> None:
        while not self._closing.is_set():
            client.poll(_POLL_S)


def _settle(future: "asyncio.Future[RecordMetadata]", error: KafkaError | None, message: Message) -> None:
    if future.done():
        return
    if error is not None:
        cause = kafka.translate(KafkaException(error), f"sending to {message.topic()}")
        failed = ProducerSendError(str(cause))
        failed.__cause__ = cause
        future.set_exception(failed)
        return
    tp = TP(cast("str", message.topic()), cast("int", message.partition()))
    kind, timestamp = message.timestamp()
    future.set_result(
        RecordMetadata(tp.topic, tp.partition, tp, cast("int", message.offset()), timestamp / 1000.0, kind)
    )
