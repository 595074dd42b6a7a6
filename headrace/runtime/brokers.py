"""Noticing a Kafka client that has lost every broker and does not look for one any more.

A broker that comes back answers before its controller lets it serve, and until then its list of brokers, itself
included, is empty. librdkafka drops all brokers that an answer does not list, those of bootstrap.servers too (its issue
5301, open as of 2.16). With `metadata.recovery.strategy` none, as transactional producers have it, nothing makes the
client connect ever again; otherwise it begins anew, unless the answer that it takes for a good one cancels that. No
error is told: calls time out.

Its statistics tell: they list what the client may connect to, and a sound client always has something there, reachable
or not.
"""

from typing import Any

import msgspec

from headrace.runtime.errors import DependencyError

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
