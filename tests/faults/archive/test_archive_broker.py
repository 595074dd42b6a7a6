"""The broker goes away while the archive reads: afterwards every record is kept once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.platform import LocalPlatform
from tests.integration.archive.archive_kit import Process, Toy
from tests.patience import wait_for


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A broker that nobody else uses."""
    with LocalPlatform(tmp_path_factory.mktemp("own"), env={}) as platform:
        yield platform


@pytest.mark.slow
def test_a_broker_that_is_killed_and_comes_back_costs_no_record(own: LocalPlatform, tmp_path: Path) -> None:
    toy = Toy(tmp_path, "toy", own.endpoints.kafka_bootstrap_servers)
    process = Process(toy, "--batch", "50", "--flush-rows", "50")
    try:
        toy.flow(range(500))
        process.wait_for(lambda: toy.count("events") > 0)
        own.restart_kafka(kill=True)
        toy.flow(range(500, 700))

        def whole() -> bool:
            nonlocal process
            if process.process.poll() is not None:  # as for every dependency that fails; its supervisor restarts it
                assert process.process.returncode == 3, process.text()
                process.stop()
                process = Process(toy, "--batch", "50")
            found = toy.ask("select count(*), count(distinct x), count(distinct (_partition, _offset)) from events")[0]
            assert found[0] == found[1] == found[2], found
            return bool(found[0] == 700)

        wait_for(whole)
    finally:
        process.stop()
