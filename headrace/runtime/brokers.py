"""What a Kafka client tells about itself: its log lines, its errors, and statistics, which show a client that is stuck.

librdkafka delivers all three when the client is polled, so every client that lives long must be polled.

A stuck client has lost every broker and does not look for any. A broker that comes back answers before its controller
lets it serve, and until then its list of brokers, itself included, is empty. librdkafka drops all brokers that an
answer does not list, those of bootstrap.servers too (its issue 5301, open as of 2.16). With
`metadata.recovery.strategy` none, which transactional producers have, nothing makes the client connect again;
otherwise it begins anew, unless it takes that answer for a good one and cancels the attempt. It reports no error: calls
time out. But its statistics list the brokers that it may connect to, and a sound client always lists one, reachable or
not.
"""

import time
from typing import Any

import msgspec
from confluent_kafka import KafkaError

from headrace.runtime.errors import DependencyError
from headrace.runtime.logging import get_logger

log = get_logger("headrace.kafka")

EVERY_MS = 5000
"""How often the client gives its statistics, on the thread that polls it."""
MOST = 2
"""So many statistics in a row without a broker mean a stuck client; one may come while a client begins anew."""


class _Broker(msgspec.Struct):
    source: str = ""


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker] = {}


_DECODER = msgspec.json.Decoder(_Statistics)
_REAL = {"configured", "learned"}  # "logical" ones are roles of a broker, such as "GroupCoordinator"


class BrokerWatch:
    """A client's `stats_cb`. Once the client is stuck, the call that polls it raises."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._without = 0

    def __call__(self, statistics: str) -> None:
        """Take the client's newest statistics, as JSON.

        Raises:
            DependencyError: the client is stuck. A new client would connect, so the process is to be restarted.
        """
        known = _DECODER.decode(statistics).brokers.values()
        self._without = 0 if any(broker.source in _REAL for broker in known) else self._without + 1
        if self._without >= self._most:
            raise DependencyError(
                "this Kafka client has lost all its brokers and does not look for them any more",
                hint="the broker listed no broker when it came back; after a restart this process finds it again",
            )


def watched(every_ms: int = EVERY_MS) -> dict[str, Any]:
    """The client properties that install a BrokerWatch."""
    return {"statistics.interval.ms": every_ms, "stats_cb": BrokerWatch()}


class ClientLog:
    """Logs the lines and errors of one client, each kind once in `EVERY_S`: without a broker there are 20 a second.

    Without this, librdkafka itself writes its lines to standard error, without the log's format and filter of secrets.
    """

    EVERY_S = 5.0
    _ALSO_ERRORS = ("FAIL ", "ERROR ")
    """librdkafka calls `error` for what lines of these kinds say."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def log(self, level: int, form: str, *arguments: Any) -> None:
        """Take a log line: confluent-kafka passes "%s [%s] %s" and its kind, the client's name and its text."""
        text = form % arguments
        if not text.startswith(self._ALSO_ERRORS) and self._is_due(text.partition(" ")[0]):
            log.log(level, "kafka client", said=text)

    def error(self, error: KafkaError) -> None:
        """Take an error, as `error_cb`. The client itself recovers from every error that is not fatal."""
        if error.fatal() or self._is_due(error.name()):
            log.warning("kafka client", code=error.name(), error=error.str(), fatal=error.fatal())

    def _is_due(self, kind: str) -> bool:
        now = time.monotonic()
        due = now - self._told.get(kind, -self.EVERY_S) >= self.EVERY_S
        if due:
            self._told[kind] = now
        return due


def told() -> dict[str, Any]:
    """The client properties that install a ClientLog."""
    client = ClientLog()
    return {"logger": client, "log_level": 4, "error_cb": client.error}
