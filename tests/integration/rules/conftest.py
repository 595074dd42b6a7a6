"""A fleet with rules, shared by a file's tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ckpt.fleet import Fleet, make_fleet
from tests.integration.rules.rules_kit import Hook


@pytest.fixture(scope="module")
def shared_fleet(kafka: Any, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder: Path = tmp_path_factory.mktemp("rules")
    made = make_fleet(kafka, redis_url, folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()
