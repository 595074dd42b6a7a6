"""Kafka clients, with the properties that keep data safe in one place, and librdkafka's errors as ours.

Producers are idempotent with acks=all. Consumers do not commit by themselves and read committed records only. Errors
name topic, partition and offset.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]

from headrace.contracts.topics import Topic
from headrace.runtime.brokers import told, watched
from headrace.runtime.errors import DependencyError, FencedError, HeadraceError
from headrace.runtime.settings import ServiceSettings

REQUEST_TIMEOUT_S = 15.0

_FENCED = {
    KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own name
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.FENCED_INSTANCE_ID,
}

_TRANSIENT = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,  # the client's metadata are older than the last change of leaders
    KafkaError.UNKNOWN_LEADER_EPOCH,  # or newer than the broker's
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
}

T = TypeVar("T")


def _base(settings: ServiceSettings, extra: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": settings.instance or "headrace",
        **told(),
        "reconnect.backoff.max.ms": 1000,  # a broker that comes back is found again within a second
        **settings.kafka_config,
        **extra,
    }


def producer(settings: ServiceSettings, **extra: Any) -> Producer:
    """An idempotent producer. `extra` are further librdkafka properties: `**{"linger.ms": 5}`."""
    defaults = {
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        "linger.ms": 5,
        "partitioner": "murmur2_random",  # the Java client's, so that all producers put a key into the same partition
    }
    return Producer(_base(settings, {**defaults, **extra}))


def close(producer: Producer, timeout_s: float) -> int:
    """Wait `timeout_s` seconds at most for queued records to be written, close, and return how many were not."""
    try:
        left = int(producer.flush(timeout_s))
    except DependencyError:  # from its BrokerWatch: it has lost its brokers for good
        left = len(producer)
    producer.purge()  # else `close` waits until the records that are left have timed out, which takes minutes
    with contextlib.suppress(DependencyError):  # from its BrokerWatch again
        producer.close()
    return left


def transactional_producer(settings: ServiceSettings, transactional_id: str, **extra: Any) -> Producer:
    """A transactional producer, ready to begin a transaction; it fences every older one of the same id.

    Raises:
        DependencyError: the broker does not answer.
    """
    defaults = {
        "transactional.id": transactional_id,
        "linger.ms": 0,
        # The broker answers a commit before it has written the transaction's markers. Until then it refuses the next
        # transaction's first requests, and by default the client waits 100 ms before it retries, and twice as long each
        # time after that: longer than a small transaction takes (benchmarks.stream.transactions).
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 20,
        # After a broker was away, rebootstrapping can make send_offsets_to_transaction hang past its timeout
        # (librdkafka 5511: in 2 of 18 cases, and in none without it). Without it, one answer that lists no broker
        # leaves the client stuck, which BrokerWatch notices within seconds.
        "metadata.recovery.strategy": "none",
        **watched(every_ms=1000),
    }
    made = producer(settings, **{**defaults, **extra})
    try:
        made.init_transactions(REQUEST_TIMEOUT_S * 2)
    except KafkaException as error:
        raise translate(error, f"starting transactions of {transactional_id!r}") from error
    return made


def consumer(settings: ServiceSettings, group: str, **extra: Any) -> Consumer:
    """A consumer that reads committed records only, from the earliest, and does not commit by itself."""
    defaults = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": False,
        "fetch.wait.max.ms": 50,
        **watched(),
    }
    return Consumer(_base(settings, {**defaults, **extra}))


def admin(settings: ServiceSettings) -> AdminClient:
    """An admin client."""
    return AdminClient(_base(settings, {}))


def ensure_topics(settings: ServiceSettings, topics: Iterable[Topic], *, replication: int = -1) -> list[str]:
    """Create those of `topics` that do not exist, wait until every topic has leaders, and return the names of new ones.

    A topic that may grow is given the partitions that it lacks.

    Raises:
        DependencyError: the broker does not answer or refuses, or a topic has another number of partitions.
    """
    client, wanted = admin(settings), {t.name: t for t in topics}
    known = metadata(client)
    missing = [t for t in wanted.values() if t.name not in known]
    _grow(client, [t for t in wanted.values() if t.may_grow and known.get(t.name, t.partitions) < t.partitions])
    for name, topic in wanted.items():
        few = topic.may_grow and known.get(name, 0) < topic.partitions
        if name in known and known[name] != topic.partitions and not few:
            raise DependencyError(
                f"topic {name!r} has {known[name]} partitions, expected {topic.partitions}",
                hint="set topics.partitions in pipeline.yaml to what is there, or name the pipeline differently",
            )
    new = [NewTopic(t.name, t.partitions, replication, config=dict(t.config)) for t in missing]
    for name, future in client.create_topics(new, request_timeout=REQUEST_TIMEOUT_S).items() if new else ():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(error, f"creating topic {name!r}") from error
    _wait_for_leaders(client, wanted)
    return [t.name for t in missing]


def _grow(client: AdminClient, topics: Iterable[Topic]) -> None:
    new = [NewPartitions(t.name, t.partitions) for t in topics]
    for name, future in client.create_partitions(new, request_timeout=REQUEST_TIMEOUT_S).items() if new else ():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.INVALID_PARTITIONS:  # another process has added them
                raise translate(error, f"adding partitions to topic {name!r}") from error


def metadata(client: AdminClient, timeout: float = REQUEST_TIMEOUT_S) -> dict[str, int]:
    """The number of partitions of every topic whose partitions all have leaders."""
    try:
        topics = client.list_topics(timeout=timeout).topics.values()
    except KafkaException as error:
        _hear(client)
        raise translate(error, "asking the broker for its topics") from error
    led = (t for t in topics if t.partitions and all(p.leader >= 0 for p in t.partitions.values()))
    return {str(t.topic): len(t.partitions) for t in led}


def _wait_for_leaders(client: AdminClient, wanted: Mapping[str, Topic]) -> None:
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while missing := set(wanted) - set(metadata(client)):
        if time.monotonic() > deadline:
            raise DependencyError(f"topics have no leader: {', '.join(sorted(missing))}", hint="is the broker healthy?")
        time.sleep(0.05)


def partitions_of(client: Consumer | Producer | AdminClient, topic: str) -> int:
    """How many partitions a topic has.

    Raises:
        DependencyError: there is no such topic, or the broker does not answer.
    """
    try:
        found = client.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics.get(topic)
    except KafkaException as error:
        _hear(client)
        raise translate(error, f"asking for topic {topic!r}") from error
    if found is None or found.error is not None or not found.partitions:
        raise DependencyError(f"topic {topic!r} does not exist", hint="headrace up creates a pipeline's topics")
    return len(found.partitions)


def _hear(client: Consumer | Producer | AdminClient) -> None:
    """Let a client say why it reaches no broker: a TLS handshake that failed, a refused connection, a wrong password.

    A consumer that has partitions is left alone, since a poll may return a record.
    """
    if not (isinstance(client, Consumer) and client.assignment()):
        client.poll(0)


def end_offsets(client: Consumer, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """The offset after the last committed record of each partition."""
    ends: dict[int, int] = {}
    for partition in partitions:
        try:
            _, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, f"end of {topic}[{partition}]") from error
        ends[partition] = high
    return ends


def patiently(ask: Callable[[], T], doing: str, timeout_s: float = REQUEST_TIMEOUT_S) -> T:
    """Return what `ask` returns; call it again while partitions are being created or change their leaders.

    Raises:
        HeadraceError: it failed otherwise, or still fails after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _TRANSIENT or time.monotonic() > deadline:
                raise translate(error, doing) from error
            time.sleep(0.1)


def at_end(message: Message) -> bool:
    """Whether what a consumer returned is no record but the end of a partition (`enable.partition.eof`)."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own name


def check(message: Message) -> Message:
    """The message, if it is a record.

    Raises:
        HeadraceError: it is an error; the text names topic, partition and offset.
    """
    error = message.error()
    if error is None:
        return message
    raise translate(KafkaException(error), f"reading {message.topic()}[{message.partition()}] at {message.offset()}")


def translate(error: KafkaException, doing: str) -> HeadraceError:
    """Our error for librdkafka's, which came while we were `doing` something."""
    cause = error.args[0]
    text = f"Kafka, {doing}: {cause.str()} [{cause.name()}]"
    if cause.code() in _FENCED:
        return FencedError(
            text, hint="a newer instance has taken over, or the transaction timed out; this instance stops"
        )
    return DependencyError(text, hint="is KAFKA_BOOTSTRAP_SERVERS right and the broker up?")
