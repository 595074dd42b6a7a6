"""The fleet of tests/integration/ckpt/fleet.py, and the one under load that the tests of this folder share."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.faults.ckpt.loaded import Loaded
from tests.integration.ckpt.fleet import applied, fleet

__all__ = ["applied", "fleet"]


class Shared:
    """One fleet, made when it is first asked for."""

    def __init__(self, kafka: Any, folders: pytest.TempPathFactory) -> None:
        self._kafka, self._folders, self._closing = kafka, folders, ExitStack()
        self._fleet: Loaded | None = None

    @property
    def fleet(self) -> Loaded:
        if self._fleet is None:
            self._fleet = Loaded(self._kafka, self._folders.mktemp("loaded"), self._closing)
        return self._fleet

    def close(self) -> None:
        self._fleet = None
        self._closing.close()


@pytest.fixture(scope="session")
def shared(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    made = Shared(kafka, tmp_path_factory)
    yield made
    made.close()


@pytest.fixture
def loaded(shared: Shared) -> Iterator[Loaded]:
    """The fleet under load. Its every answer is checked after each test; one that fails takes no other test along."""
    yield shared.fleet
    try:
        shared.fleet.check()
    except BaseException:
        shared.close()
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """End the shared fleet before a test without it.

    All coordinators of a broker are one group, and others need the cores.
    """
    shared = getattr(item, "funcargs", {}).get("shared")
    yield
    if shared is not None and "shared" not in getattr(nextitem, "fixturenames", ()):
        shared.close()
