"""A topic may be named by its last part."""

import pytest

from headrace.runtime.errors import ConfigError
from headrace.runtime.topic_reader import resolve


def test_a_topic_by_its_last_part() -> None:
    known = {"flights.events": 4, "flights.events.dlq": 4, "headrace.checkpoints": 4, "rides.events": 4}
    assert resolve("rides.events", known, None) == "rides.events"
    assert resolve("checkpoints", known, None) == "headrace.checkpoints"
    assert resolve("events", known, "flights") == "flights.events"
    assert resolve("events.dlq", known, None) == "flights.events.dlq"
    with pytest.raises(ConfigError, match=r"flights\.events or rides\.events"):
        resolve("events", known, None)
    with pytest.raises(ConfigError, match="no topic 'nope'"):
        resolve("nope", known, "flights")
