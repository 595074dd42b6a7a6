"""However a run ends, nothing of it is left: no role, no fork server, no broker, no Redis."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from headrace.runtime.errors import ExitCode
from tests.e2e.conftest import FLIGHTS, Run, wait_for
from tests.line_kit import write_toy
from tests.patience import WAIT_S

pytestmark = pytest.mark.timeout(600)


def family(run: Run) -> list[psutil.Process]:
    return [run.process, *run.process.children(recursive=True)]


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after a while."""
    _, alive = psutil.wait_procs(processes, timeout=WAIT_S)
    return [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "run", FLIGHTS, "--core")
    yield run
    run.close()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_nothing_is_left_of_a_run_that_is_ended_by(started: Run, number: signal.Signals, code: int) -> None:
    started.wait_ready()
    processes = family(started)
    names = {one.name() for one in processes}
    assert {"fork-server", "java", "stream", "trainer"} <= names
    os.kill(started.process.pid, number)
    assert started.wait() == code
    assert left(processes) == []


def test_nothing_is_left_of_a_run_that_is_interrupted_while_it_starts(started: Run) -> None:
    wait_for(lambda: any(one.name() == "java" for one in family(started)), "start of the broker")
    processes = family(started)
    started.process.send_signal(signal.SIGINT)
    assert started.wait() != 0
    assert left(processes) == []


def test_nothing_is_left_of_a_run_whose_roles_cannot_start(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy")
    (folder / "model.py").write_text("raise RuntimeError('no model here')\n")
    run = Run(tmp_path / "run", folder, "--core")
    seen: dict[int, psutil.Process] = {}
    names: set[str] = set()

    def ended() -> bool:
        try:
            now = family(run)
            seen.update({one.pid: one for one in now})
            names.update(one.name() for one in now)
        except psutil.NoSuchProcess:
            return True
        return run.ended

    wait_for(ended, "the end of a run that cannot work", 2 * WAIT_S)
    assert run.wait() == ExitCode.DEPENDENCY
    assert "no model here" in run.log.read_text()
    assert {"java", "valkey-server"} <= names
    assert left(list(seen.values())) == []
