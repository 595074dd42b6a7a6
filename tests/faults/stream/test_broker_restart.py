"""The broker goes away in the middle, in order and without: afterwards every event was predicted once."""

import pytest

from tests.conftest import Kafka
from tests.patience import WAIT_S
from tests.stream_kit import WELL, PipelineRun, wait_for


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_broker_that_restarts_costs_nothing(own, tmp_path, kill):
    folder = tmp_path / "pipeline"
    folder.mkdir()
    with PipelineRun(Kafka(own.endpoints.kafka_bootstrap_servers), folder) as river:
        river.produce(range(20_000))
        worker = river.worker(round_records=500)
        wait_for(lambda: worker.metric("records_total") >= 2000, WAIT_S, "no progress")

        def revive() -> None:  # it may end, as for every dependency that fails; its supervisor restarts it
            if not worker.alive:
                assert worker.process.returncode in {3, 4}, worker.tail()
                river.worker(round_records=500)

        own.restart_kafka(kill=kill)
        revive()
        river.produce(range(20_000, 25_000))
        wait_for(lambda: river.committed() == 25_000 or not worker.alive, WAIT_S, "stuck")
        revive()
        outcome = river.read(25_000)
        assert outcome.verdict(river.produced) == WELL, river.logs()
