"""Putting dead letters back on Kafka, exactly once each: the durable order stands in `replay`.

All replays of one source topic have one transactional id, so a second replay fences the first, whose open transaction
is aborted: nothing is left half done.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import KafkaException, Producer

from headrace.contracts.topics import REPLAYS
from headrace.deadletters.letters import Letter
from headrace.deadletters.plan import entry_of, record_of
from headrace.deadletters.read import GROUP, replayed
from headrace.runtime import kafka
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from headrace.streams.delivery import Outgoing
from headrace.streams.transactions import PRODUCER_CONFIG

log = get_logger("headrace.deadletters")

_PRODUCER = {**PRODUCER_CONFIG, "transaction.timeout.ms": 10_000}
_COMMIT_S = 30.0
_ABORT_S = 5.0

Choose = Callable[[set[str]], Sequence[Letter]]
"""The letters to put back, given the ids of the records that were put back already."""


def replay(
    settings: ServiceSettings,
    topic: str,
    choose: Choose,
    *,
    by: str,
    batch: int = 500,
    told: Callable[[int], None] = lambda _: None,
) -> int:
    """Put the letters that `choose` returns back on `topic`, and return their number.

    `told` is called with the count so far after each batch.

    Raises:
        DependencyError: Kafka failed. What was put back stays so; running it again puts back the rest.
        FencedError: another replay of the topic was started.
    """
    kafka.ensure_topics(settings, [REPLAYS.topic()])
    # 1. Fence: an earlier replay's open transaction is aborted, and it cannot go on. From here on only we add entries.
    producer = kafka.transactional_producer(settings, f"{GROUP}.replay.{topic}", **_PRODUCER)
    # 2. Read what was put back: what is committed by now is all there is.
    letters, done = choose(replayed(settings, topic)), 0
    # 3. By batches: records and their entries, in one transaction each.
    while some := letters[done : done + batch]:
        _put_back(producer, some, by)
        done += len(some)
        told(done)
    producer.close()  # only here: a fenced producer's close raises once more, and hides why
    return done


def _put_back(producer: Producer, letters: Sequence[Letter], by: str) -> None:
    try:
        with _transaction(producer):
            for letter in letters:
                _produce(producer, record_of(letter))
                _produce(producer, entry_of(letter, by=by))
    except KafkaException as error:
        raise kafka.translate(error, f"putting back {letters[0].source} to {letters[-1].source}") from error


@contextmanager
def _transaction(producer: Producer) -> Iterator[None]:
    """Committed at the end of the block, aborted when that fails. Readers of the topic wait while it is open."""
    producer.begin_transaction()
    try:
        yield
        producer.commit_transaction(_COMMIT_S)
    except BaseException:  # an interrupt too
        try:
            producer.abort_transaction(_ABORT_S)
        except KafkaException as error:
            # Fenced, which aborts it too; or the broker is away, and aborts it after its timeout or at the next replay,
            # which reads from the entries what was committed after all.
            log.debug("transaction not aborted", code=error.args[0].name(), error=error.args[0].str())
        raise


def _produce(producer: Producer, made: Outgoing) -> None:
    while True:
        try:
            producer.produce(
                made.topic, made.value, made.key, headers=list(made.headers), partition=made.partition or 0
            )
        except BufferError:
            producer.poll(0.1)
        else:
            return
