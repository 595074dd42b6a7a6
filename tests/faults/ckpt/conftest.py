"""The fleet of tests/integration/ckpt/fleet.py, and the one under load that the tests of this folder share."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.faults.ckpt.loaded import Loaded
from tests.integration.ckpt.fleet import applied, fleet

__all__ = ["applied", "fleet"]


@pytest.fixture(scope="session")
def closing(kafka: Any) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def one_fleet(kafka: Any, tmp_path_factory: pytest.TempPathFactory, closing: ExitStack) -> Loaded:
    return Loaded(kafka, tmp_path_factory.mktemp("loaded"), closing)


@pytest.fixture
def loaded(one_fleet: Loaded, closing: ExitStack, request: pytest.FixtureRequest) -> Iterator[Loaded]:
    """The fleet under load; its every answer is checked after each test, and it ends with the last test that has it."""
    yield one_fleet
    try:
        one_fleet.check()
    finally:
        users = [item for item in request.session.items if "loaded" in getattr(item, "fixturenames", ())]
        if request.node is users[-1]:
            closing.close()
