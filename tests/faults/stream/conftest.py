"""A broker of these tests' own, which they may stop, kill and freeze; and their counts at the end of the run."""

from collections.abc import Iterator

import pytest

from headrace.platform import LocalPlatform
from tests.faults.stream import report
from tests.faults.stream.chaos import SESSION_S


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A broker that nobody else uses."""
    config = {"group.consumer.session.timeout.ms": str(int(SESSION_S * 1000))}
    with LocalPlatform(tmp_path_factory.mktemp("own"), env={}, kafka_config=config) as platform:
        yield platform


def pytest_terminal_summary(terminalreporter) -> None:
    """The counts, whether the tests passed or failed."""
    calls = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, ()) if r.when == "call"]
    told = [value for call in calls for name, value in call.user_properties if name == report.NAME]
    if told:
        terminalreporter.section(report.NAME)
        for text in told:
            terminalreporter.line(text)
