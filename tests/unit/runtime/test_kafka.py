"""librdkafka's errors become ours, and say what was being done."""

from confluent_kafka import KafkaError, KafkaException

from headrace.runtime.errors import DependencyError, FencedError
from headrace.runtime.kafka import translate


def test_being_fenced_is_told_apart_from_a_broker_that_is_away() -> None:
    fenced = translate(KafkaException(KafkaError(KafkaError.PRODUCER_FENCED)), "committing 'rides' offsets")
    away = translate(KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), "reading rides.events[3] at 17")
    assert isinstance(fenced, FencedError)
    assert isinstance(away, DependencyError)
    assert "reading rides.events[3] at 17" in str(away)
