"""A broker of these tests' own, which they may stop and kill."""

from collections.abc import Iterator

import pytest

from headrace.platform import LocalPlatform


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A broker that nobody else uses."""
    with LocalPlatform(tmp_path_factory.mktemp("own"), env={}) as platform:
        yield platform
