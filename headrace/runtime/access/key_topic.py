"""The keys on headrace.keys: read whole before a role answers, and followed from then on.

A key that is revoked is refused everywhere within a second.
"""

import threading

import msgspec
from confluent_kafka import KafkaError, Message, TopicPartition

from headrace.contracts.access import ApiKey
from headrace.contracts.topics import KEYS
from headrace.runtime import kafka
from headrace.runtime.access.keys import KeyRing, decoded, encoded
from headrace.runtime.errors import DependencyError, HeadraceError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings

log = get_logger("headrace.access")

_POLL_S = 0.2
_CATCH_UP_S = 60.0


class KeyFeed:
    """Follows the topic in a thread of its own.

    Args:
        settings: where Kafka is.
        ring: is told of every record.
    """

    def __init__(self, settings: ServiceSettings, ring: KeyRing) -> None:
        self._settings, self._ring = settings, ring
        self._stop, self._caught_up = threading.Event(), threading.Event()
        self._failure: HeadraceError | None = None
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    def start(self) -> None:
        """Return once everything that is on the topic was read.

        Raises:
            DependencyError: it cannot be read, or not in time.
        """
        self._thread.start()
        if not self._caught_up.wait(_CATCH_UP_S):
            self.stop()
            raise DependencyError(f"{KEYS.name()} cannot be read in {_CATCH_UP_S:g} s", hint="is the broker up?")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Follow no longer."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._follow()
        except HeadraceError as error:
            self._failure = error
            log.error("keys cannot be followed any more", error=error.message)  # noqa: TRY400
        finally:
            self._caught_up.set()

    def _follow(self) -> None:
        kafka.ensure_topics(self._settings, [KEYS.topic()])
        group = f"headrace.keys.{self._settings.instance}"
        consumer = kafka.consumer(self._settings, group, **{"enable.partition.eof": True})
        try:
            left = set(range(kafka.partitions_of(consumer, KEYS.name())))
            consumer.assign([TopicPartition(KEYS.name(), partition, 0) for partition in left])
            while not self._stop.is_set():
                for message in consumer.consume(500, _POLL_S):
                    if kafka.at_end(message):
                        left.discard(message.partition() or 0)
                    elif kafka.check(message):
                        self._take(message)
                if not left:
                    self._caught_up.set()
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        try:
            record = decoded(message.value() or b"")
        except msgspec.DecodeError as error:
            where = f"{message.topic()}[{message.partition()}] at {message.offset()}"
            log.warning("a key's record was ignored", where=where, error=str(error))
            return
        self._ring.apply(record)


def read_keys(settings: ServiceSettings) -> list[ApiKey]:
    """Every key's newest record.

    Raises:
        DependencyError: Kafka does not answer.
    """
    ring = KeyRing()
    feed = KeyFeed(settings, ring)
    feed.start()
    feed.stop()
    return ring.all()


def write_key(settings: ServiceSettings, record: ApiKey) -> None:
    """Put a key's record on the topic; it is there when this returns.

    Raises:
        DependencyError: the broker did not take it.
    """
    kafka.ensure_topics(settings, [KEYS.topic()])
    producer, failed = kafka.producer(settings), list[KafkaError]()

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer.produce(KEYS.name(), encoded(record), record.id.encode(), on_delivery=delivered)
    if kafka.close(producer, kafka.REQUEST_TIMEOUT_S) or failed:
        why = f": {failed[0].str()}" if failed else ""
        raise DependencyError(f"the key was not written to {KEYS.name()}{why}", hint="is the broker up?")
