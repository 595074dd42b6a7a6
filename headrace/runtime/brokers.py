"""What a Kafka client tells about itself: its log lines, its errors, and statistics, which show a client that is stuck.

librdkafka hands all three over to whoever polls the client, so a client that lives long must be polled.

A stuck client has lost every broker and looks for none any more. A broker that comes back answers before its controller
lets it serve, and until then its list of brokers, itself included, is empty. librdkafka drops all brokers that an
answer does not list, those of bootstrap.servers too (its issue 5301, open as of 2.16). With `metadata.recovery.strategy`
none, as transactional producers have it, nothing makes the client connect ever again; otherwise it begins anew, unless
the answer that it takes for a good one cancels that. No error is reported: calls time out. But the statistics list what
the client may connect to, and there a sound client always has something, reachable or not.
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
"""So many statistics in a row without a broker: between losing the last one and beginning again there may be one."""


class _Broker(msgspec.Struct):
    source: str = ""


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker] = {}


_DECODER = msgspec.json.Decoder(_Statistics)
_REAL = {"configured", "learned"}  # others are roles that a broker plays, such as "GroupCoordinator"


class BrokerWatch:
    """A client's `stats_cb`: raises out of whatever polls the client, once it has been without a broker for good."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._without = 0

    def __call__(self, statistics: str) -> None:
        """Take the client's newest statistics, JSON.

        Raises:
            DependencyError: the client has nothing left to connect to; another one would, so the process is to be
            restarted.
        """
        known = _DECODER.decode(statistics).brokers.values()
        self._without = 0 if any(broker.source in _REAL for broker in known) else self._without + 1
        if self._without >= self._most:
            raise DependencyError(
                "this Kafka client has lost all its brokers and does not look for them any more",
                hint="the broker said, when it came back, that there is none; a restart of this process finds it again",
            )


def watched(every_ms: int = EVERY_MS) -> dict[str, Any]:
    """The settings that have a client watched."""
    return {"statistics.interval.ms": every_ms, "stats_cb": BrokerWatch()}


class ClientLog:
    """Logs what one client says, each kind of line once in `EVERY_S`: without a broker it repeats itself 20 times a second.

    Without this, librdkafka writes its lines to standard error itself, past the log's format and filter of secrets.
    """

    EVERY_S = 5.0
    _ALSO_ERRORS = ("FAIL ", "ERROR ")
    """Lines of these kinds tell what `error` is told as well."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def log(self, level: int, form: str, *arguments: Any) -> None:
        """A log line, as librdkafka's binding hands it to a logger: "%s [%s] %s" of kind, client and text."""
        text = form % arguments
        if not text.startswith(self._ALSO_ERRORS) and self._is_due(text.partition(" ")[0]):
            log.log(level, "kafka client", said=text)

    def error(self, error: KafkaError) -> None:
        """An error, as `error_cb` is told it. The client itself recovers from all but a fatal one."""
        if error.fatal() or self._is_due(error.name()):
            log.warning("kafka client", code=error.name(), error=error.str(), fatal=error.fatal())

    def _is_due(self, kind: str) -> bool:
        now = time.monotonic()
        due = now - self._told.get(kind, -self.EVERY_S) >= self.EVERY_S
        if due:
            self._told[kind] = now
        return due


def told() -> dict[str, Any]:
    """The settings that have a client's log lines and errors logged."""
    client = ClientLog()
    return {"logger": client, "log_level": 4, "error_cb": client.error}
