"""A system topic of an earlier release, which had fewer partitions, is given those that it lacks; no other topic is."""

import pytest

from headrace.contracts.topics import Topic
from headrace.runtime import kafka as clients
from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings


def test_only_a_topic_that_may_grow_is_given_partitions(kafka):
    settings = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers)
    name = kafka.create_topic(partitions=1)
    for _ in range(2):
        assert clients.ensure_topics(settings, [Topic(name, 4, {}, may_grow=True)]) == []
        assert clients.partitions_of(clients.admin(settings), name) == 4
    for wanted in (Topic(name, 5, {}), Topic(name, 3, {}, may_grow=True)):
        with pytest.raises(DependencyError, match="has 4 partitions"):
            clients.ensure_topics(settings, [wanted])
