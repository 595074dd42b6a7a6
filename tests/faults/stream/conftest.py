"""A broker of these tests' own, which they may stop, kill and freeze."""

from collections.abc import Iterator

import pytest

from headrace.platform import LocalPlatform
from tests.faults.stream.chaos import SESSION_S


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A broker that nobody else uses."""
    config = {"group.consumer.session.timeout.ms": str(int(SESSION_S * 1000))}
    with LocalPlatform(tmp_path_factory.mktemp("own"), env={}, kafka_config=config) as platform:
        yield platform
