"""A topic as a table in memory: the newest value of every key, for custom agents that join records with it.

Every process reads the whole topic from the beginning at each start, with a consumer that is in no group. So the table
needs no changelog, no store and no assignment, and it does not matter in which partition a record is. It costs memory:
use it for compacted topics that fit, such as prices, zones or accounts. A lookup is not repeatable: a record that is
processed again after a crash may find a newer value than before.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError, HeadraceError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings

log = get_logger("headrace.lookup")

V = TypeVar("V")

_WAIT_S = 0.1
_MOST = 10_000


class Lookup(Generic[V]):
    """The newest value of every key. Give `open` and `close` to `ChunkApp.during`; any thread may read it in between.

    `decode` makes a value of a record's bytes. A record for which it raises ValueError is logged and skipped, and the
    key keeps the value that it had. A record without a value (a tombstone) deletes its key. A record without a key is
    skipped.
    """

    def __init__(
        self, settings: ServiceSettings, topic: str, decode: Callable[[bytes], V], *, start_s: float = 60.0
    ) -> None:
        self._settings, self._topic, self._decode, self._start_s = settings, topic, decode, start_s
        self._values: dict[bytes, V] = {}
        self._caught_up, self._closing = threading.Event(), threading.Event()
        self._failure: HeadraceError | None = None
        self._thread = threading.Thread(target=self._follow, name=f"lookup-{topic}", daemon=True)

    def open(self) -> None:
        """Read the topic to its end, then return; a thread goes on reading new records.

        Raises:
            DependencyError: the topic does not exist, or could not be read within `start_s` seconds.
        """
        self._thread.start()
        if not self._caught_up.wait(self._start_s):
            raise DependencyError(
                f"{self._topic} was not read within {self._start_s:.0f} s", hint="is it too large for a lookup?"
            )
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop reading. The values stay."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def get(self, key: bytes | None) -> V | None:
        """The newest value of `key`; None where there is none.

        Raises:
            HeadraceError: the topic cannot be read any more, so that values may be old.
        """
        if self._failure is not None:
            raise self._failure
        return None if key is None else self._values.get(key)

    def __len__(self) -> int:
        return len(self._values)

    def _follow(self) -> None:
        consumer = kafka.consumer(self._settings, "headrace.lookup", **{"enable.partition.eof": True})
        try:
            partitions = range(kafka.partitions_of(consumer, self._topic))
            consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING) for partition in partitions])
            waiting = set(partitions)
            while not self._closing.is_set():
                for message in _records(consumer, waiting):
                    self._keep(message)
                if not waiting:
                    self._caught_up.set()
        except HeadraceError as error:
            self._failure = error
            said = "the lookup's topic cannot be read"
            log.error(said, topic=self._topic, error=error.message)  # noqa: TRY400 - `get` raises it
        finally:
            self._caught_up.set()
            consumer.close()

    def _keep(self, message: Message) -> None:
        key, value = message.key(), message.value()
        if key is None:
            return
        if value is None:
            self._values.pop(key, None)
            return
        try:
            self._values[key] = self._decode(value)
        except ValueError as error:
            where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
            log.warning("the lookup skips a record that cannot be decoded", where=where, error=str(error))


def _records(consumer: Consumer, waiting: set[int]) -> Iterator[Message]:
    """The records of one fetch. A partition whose end it reached leaves `waiting`."""
    for message in consumer.consume(_MOST, _WAIT_S):
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
            waiting.discard(message.partition() or 0)
        else:
            yield kafka.check(message)
