"""A client without brokers is noticed by its statistics, and one whose brokers are merely away is left alone."""

import json

import pytest

from headrace.runtime.brokers import BrokerWatch
from headrace.runtime.errors import DependencyError


def statistics(*sources: str) -> str:
    return json.dumps(
        {"name": "c", "brokers": {f"b{i}": {"source": source, "state": "DOWN"} for i, source in enumerate(sources)}}
    )


def test_a_client_that_has_nothing_to_connect_to_is_given_up() -> None:
    watch = BrokerWatch(most=2)
    watch(statistics("logical"))
    with pytest.raises(DependencyError, match="lost all its brokers"):
        watch(statistics("logical", "internal"))


@pytest.mark.parametrize("source", ["configured", "learned"])
def test_brokers_that_are_down_are_waited_for(source: str) -> None:
    watch = BrokerWatch(most=2)
    for _ in range(5):
        watch(statistics("logical", source))


def test_a_client_that_begins_again_in_time_is_well() -> None:
    watch = BrokerWatch(most=2)
    for _ in range(3):
        watch(statistics())
        watch(statistics("configured"))
