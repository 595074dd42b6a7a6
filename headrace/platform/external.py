"""Servers that somebody named: used as they are, once they have answered."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from headrace.runtime.errors import PlatformError

ANSWER_TIMEOUT_S = 10.0


def probe(bootstrap_servers: str, config: Mapping[str, str] | None = None) -> AdminClient:
    """A client for asking whether a broker is there: quick to reconnect, silent about refused connections.

    `config` are further librdkafka properties, such as `security.protocol`.
    """
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
        "log_level": 0,
        "error_cb": lambda _: None,
        **(config or {}),
    }
    return AdminClient(settings)


def require_kafka(bootstrap_servers: str) -> None:
    """Check that a broker there answers a metadata request, asked with HEADRACE_KAFKA_CONFIG as every role asks.

    Raises:
        ConfigError: HEADRACE_KAFKA_CONFIG is no JSON object of strings.
        PlatformError: no broker answers, or it refuses these settings.
    """
    from headrace.runtime.settings import ServiceSettings, load  # slow, and needed only where a server is named

    config = load(ServiceSettings, "headrace").kafka_config
    try:
        probe(bootstrap_servers, config).list_topics(timeout=ANSWER_TIMEOUT_S)
    except KafkaException as error:
        raise PlatformError(
            f"no Kafka answers at {bootstrap_servers}: {error.args[0].str()}",
            hint="KAFKA_BOOTSTRAP_SERVERS names it, and HEADRACE_KAFKA_CONFIG how to connect; "
            "unset the first to start an embedded one",
        ) from error


def require_redis(url: str) -> None:
    """Check that a server there answers a PING.

    Raises:
        PlatformError: it does not.
    """
    import redis  # slow, and needed only where a server is named

    try:
        with redis.Redis.from_url(
            url, socket_timeout=ANSWER_TIMEOUT_S, socket_connect_timeout=ANSWER_TIMEOUT_S
        ) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise PlatformError(
            f"no Redis answers at the address in REDIS_URL: {error}", hint="unset REDIS_URL to start an embedded one"
        ) from error
