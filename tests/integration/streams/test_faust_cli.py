"""The role `stream` started by Faust's own command line: the same guarantees, an orderly stop, an exit code."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.patience import WAIT_S
from tests.stream_kit import WELL, PipelineRun, wait_for

ROOT = Path(__file__).parents[3]


@contextmanager
def faust_worker(river: PipelineRun, app: str = "tests.faust_stream_app", **env: str | None):
    """`faust -A APP worker` as a process."""
    run_dir = river.folder / "run"
    known = {
        **os.environ, "HEADRACE_PIPELINE": str(river.folder), "KAFKA_BOOTSTRAP_SERVERS": river.bootstrap,
        "HEADRACE_RUN_DIR": str(run_dir), "HEADRACE_INSTANCE": "faust", "PYTHONPATH": str(ROOT), **env,
    }  # fmt: skip
    command = [sys.executable, "-m", "faust", "-A", app, "worker", "--without-web", "-l", "info"]
    with (river.folder / "faust.log").open("wb") as log:
        wanted = {name: value for name, value in known.items() if value is not None}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=wanted, cwd=river.folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(river: PipelineRun) -> str:
    return (river.folder / "faust.log").read_text()[-6000:]


def test_events_are_predicted_once_and_a_stop_commits_what_is_in_hand(kafka, tmp_path):
    with PipelineRun(kafka, tmp_path) as river:
        river.produce(range(3000))
        river.send(b"{", "k1")
        river.flush()
        endpoint = tmp_path / "run" / "endpoints" / "faust.json"
        with faust_worker(river) as process:
            wait_for(lambda: endpoint.exists() or process.poll() is not None, WAIT_S, "it does not start")
            outcome = river.read(3000, 1)
            assert outcome.verdict(river.produced) == WELL, log_of(river)
            assert [letter.value for letter in outcome.letters] == [b"{"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0, log_of(river)
        assert river.committed() == 3001
        assert not endpoint.exists()


def test_a_killed_worker_repeats_nothing_when_faust_starts_it_again(kafka, tmp_path):
    with PipelineRun(kafka, tmp_path) as river:
        river.produce(range(20_000))
        with faust_worker(river, HEADRACE_ROUND_RECORDS="20") as process:
            wait_for(lambda: river.committed() > 1000 or process.poll() is not None, WAIT_S, "no progress")
        assert river.committed() < 20_000
        river.produce(range(20_000, 21_000))
        with faust_worker(river):
            assert river.read(21_000).verdict(river.produced) == WELL, log_of(river)


def test_what_ends_the_role_ends_fausts_worker_with_an_error(kafka, tmp_path):
    with PipelineRun(kafka, tmp_path) as river:
        for _ in range(1000):
            river.send(b'{"key": "k1", "n": -1}')
        river.flush()
        with faust_worker(river) as process:
            assert process.wait(WAIT_S) != 0, log_of(river)
        assert "DataError" in log_of(river)
        assert river.committed() == 0


def test_without_an_agent_it_waits_for_weights_and_stops_in_order(kafka, tmp_path):
    with PipelineRun(kafka, tmp_path) as river, faust_worker(river, "services.inference.stream.faust_app") as process:
        river.produce(range(10))
        endpoint = tmp_path / "run" / "endpoints" / "faust.json"
        wait_for(lambda: endpoint.exists() or process.poll() is not None, WAIT_S, "it does not start")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0, log_of(river)
        assert river.committed() == 0


def test_without_a_pipeline_it_says_what_is_missing(kafka, tmp_path):
    with (
        PipelineRun(kafka, tmp_path) as river,
        faust_worker(river, "services.inference.stream.faust_app", HEADRACE_PIPELINE=None) as process,
    ):
        assert process.wait(WAIT_S) != 0
        assert "--pipeline FOLDER" in log_of(river)
