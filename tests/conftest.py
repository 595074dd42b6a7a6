"""The session's real Kafka and Redis: started when a test first asks, shared by all, stopped at the end.

`KAFKA_BOOTSTRAP_SERVERS` / `REDIS_URL` name running ones instead: start `headrace platform up` once and run tests
against it.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import hypothesis
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.platform import LocalPlatform
from tests.patience import WAIT_S

os.environ.setdefault("MKL_CBWR", "AUTO")  # as roles of inference set it: models run by hand give the same bytes

# How long an example takes says how busy the machine is, and nothing of what is promised.
hypothesis.settings.register_profile("headrace", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("headrace")

_NEEDS = {"kafka": pytest.mark.kafka, "redis_url": pytest.mark.redis}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they ask for, so that `-m "not kafka"` is what runs without a broker."""
    for item in items:
        for fixture in set(getattr(item, "fixturenames", ())) & set(_NEEDS):
            item.add_marker(_NEEDS[fixture])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of `pytest -n 2 --dist loadfile`; None leaves other ways of distributing tests to xdist."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.distribution import ByFile

    return ByFile(config, log)


class Kafka:
    """The session's broker. Tests share it, so every test makes topics of its own."""

    _count = itertools.count(1)

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers})

    def unique(self, prefix: str = "test") -> str:
        """A name that nobody else uses: for topics, groups, transactional ids and pipelines."""
        return f"{prefix}-{os.getpid()}-{next(self._count)}"

    def create_topic(self, prefix: str = "test", partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic with a unique name and return that once the topic has leaders."""
        name = self.unique(prefix)
        self.create_topics({name: partitions}, config)
        return name

    def create_topics(self, partitions: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
        """Create topics with exactly these names; return once they have leaders."""
        new = [NewTopic(name, count, 1, config=dict(config or {})) for name, count in partitions.items()]
        for future in self.admin.create_topics(new).values():
            future.result(WAIT_S)
        for name, count in partitions.items():
            while True:
                found = self.admin.list_topics(name, timeout=WAIT_S).topics[name].partitions
                if len(found) == count and all(p.leader >= 0 for p in found.values()):
                    break


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Kafka and Redis, ready. Most tests want `kafka` or `redis_url`."""
    with LocalPlatform(tmp_path_factory.mktemp("platform")) as started:
        yield started


@pytest.fixture(scope="session")
def kafka(platform: LocalPlatform) -> Kafka:
    """The session's broker."""
    return Kafka(platform.endpoints.kafka_bootstrap_servers)


@pytest.fixture(scope="session")
def redis_url(platform: LocalPlatform) -> str:
    """The session's Redis-protocol server. Tests share it, so every test uses key prefixes of its own."""
    return platform.endpoints.redis_url


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """A maker of names that no other test of this session uses."""
    count = itertools.count(1)
    return lambda prefix: f"{prefix}-{os.getpid()}-{abs(hash(request.node.nodeid)) % 10**8}-{next(count)}"
