"""Children never outlive us, and no process is taken for another one."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from headrace.platform import process
from headrace.platform.process import ProcessId
from tests.patience import WAIT_S

POLITE = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True); signal.pause()"
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
PARENT = """
import pathlib, signal, sys, threading
from headrace.platform import process
made = []
thread = threading.Thread(
    target=lambda: made.append(process.spawn([sys.executable, "-c", sys.argv[2]], pathlib.Path(sys.argv[1])))
)
thread.start(); thread.join()
print(made[0].pid, flush=True)
signal.pause()
"""


@pytest.fixture
def start(tmp_path):
    """Starts a python child with `spawn` and waits until it says that it is up."""
    started = []

    def start(code):
        log = tmp_path / f"{len(started)}.log"
        started.append(process.spawn([sys.executable, "-c", code], log))
        assert process.wait_until(lambda: b"up" in log.read_bytes(), WAIT_S)
        return started[-1]

    yield start
    for child in started:
        process.stop(child, 0)


def test_a_polite_child_stops_by_itself(start):
    child = start(POLITE)
    assert process.stop(child, WAIT_S)
    assert child.returncode == 7


def test_a_stubborn_child_is_killed_after_the_deadline(start):
    child = start(STUBBORN)
    assert not process.stop(child, 0.1)
    assert child.returncode == -signal.SIGKILL


def test_a_child_is_out_of_reach_of_the_terminal(start):
    child = start(POLITE)
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


def test_a_child_made_in_a_thread_outlives_the_thread(start):
    made = []
    thread = threading.Thread(target=lambda: made.append(start(POLITE)))
    thread.start()
    thread.join()
    assert process.stop(made[0], WAIT_S)
    assert made[0].returncode == 7  # not -9: the kernel's parent-death signal looks at the thread


def test_children_die_when_the_parent_is_killed(tmp_path):
    log = tmp_path / "child.log"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log), STUBBORN], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = ProcessId.of(int(parent.stdout.readline()))
        assert process.wait_until(lambda: b"up" in log.read_bytes(), WAIT_S)
        assert child.alive()
        parent.send_signal(signal.SIGKILL)
    assert process.wait_until(lambda: not child.alive(), WAIT_S)


def test_a_child_whose_parent_died_before_it_began_does_not_begin(tmp_path):
    # Not our pid: the launcher sees that its parent is not who made it.
    launcher = [sys.executable, "-I", "-S", str(process._LAUNCHER), "1", sys.executable, "-c", "print('ran')"]
    done = subprocess.run(launcher, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_command_that_does_not_exist_is_said_in_the_log(tmp_path):
    child = process.spawn(["/no/such/program"], tmp_path / "log")
    assert child.wait(WAIT_S) == 127
    assert "cannot run /no/such/program" in (tmp_path / "log").read_text()


def test_a_process_is_known_by_its_start_not_its_pid_alone(start):
    child = start(POLITE)
    real = ProcessId.of(child.pid)
    impostor = ProcessId(child.pid, real.started - 60)
    assert real.alive()
    assert not impostor.alive()
    assert impostor.terminate(0)  # leaves the stranger alone
    assert real.alive()
    process.stop(child, WAIT_S)
    assert not real.alive()


def test_a_dead_child_that_nobody_waited_for_is_not_alive(start):
    child = start(POLITE)
    known = ProcessId.of(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    assert process.wait_until(lambda: not known.alive(), WAIT_S)


def test_free_ports_are_free_and_out_of_the_way_of_outgoing_connections():
    port = process.free_port()
    assert process.port_is_free(port)
    assert port < process._first_outgoing_port()


@pytest.mark.parametrize("value", [None, {}, {"pid": "x", "started": 1}, {"pid": 1}])
def test_what_is_no_process_in_a_file_is_none(value):
    assert ProcessId.parse(value) is None
