"""A forked role is, as far as anybody can tell, a process that was started as `python -m <module> <args>`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from headrace.launch.fork.client import ForkError, ForkServer
from headrace.launch.fork.pages import unwritten_files
from headrace.launch.specs import RoleSpec, StartWave
from headrace.launch.supervisor import Supervisor
from headrace.platform import process
from headrace.platform.process import ProcessId
from tests.patience import WAIT_S, wait_for

pytestmark = pytest.mark.skipif(not ForkServer.supported(), reason="forks roles on Linux only")

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]
ENV = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}"}


@pytest.fixture
def forks(tmp_path):
    made = ForkServer(tmp_path / "fork-server.log", {**os.environ, **ENV}, ["wave"])
    made.start()
    yield made
    made.stop()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "logs" / "child.log"


def spawn(forks, log, *args, **env):
    return forks.spawn("forked_child", args, log, {**os.environ, **ENV, **env})


def test_a_forked_process_is_what_a_new_interpreter_would_be(forks, log):
    assert spawn(forks, log, "about", "wave", ROLE_A="1").wait() == 0
    assert spawn(forks, log, "about", ROLE_B="2").wait() == 0
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    draws = first.pop("random"), second.pop("random")
    assert draws[0] != draws[1]
    assert first == {
        "argv": ["about", "wave"],
        "name": "__main__",
        "parent": os.getpid(),
        "session": True,
        "threads": 1,
        "variables": ["ROLE_A"],
        "stdin": "",
        "descriptors": [3],  # of the listing itself
        "preloaded": True,
    }
    assert (second["argv"], second["variables"]) == (["about"], ["ROLE_B"])


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("0", 0, ""),
        ("9", 9, ""),
        ("no weights", 1, "no weights\n"),
        ("raise", 1, '    raise ValueError("no such thing")\nValueError: no such thing\n'),
        ("thread", 0, "thread ended\nat exit\n"),
    ],
)
def test_exit_codes_and_last_words_are_the_interpreters(forks, log, what, code, said):
    assert spawn(forks, log, what).wait() == code
    assert log.read_text().endswith(said)
    command = [sys.executable, "-m", "forked_child", what]
    again = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False)
    assert (again.returncode, (again.stdout + again.stderr)[-len(said) :] if said else "") == (code, said)


def test_a_traceback_begins_where_the_interpreters_does(forks, log):
    assert spawn(forks, log, "raise").wait() == 1
    lines = log.read_text().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert all("<frozen runpy>" in line for line in lines[1:-3])
    assert lines[-3].startswith(f'  File "{HERE / "forked_child.py"}", line ')


def test_a_signal_ends_it_and_shows_as_its_exit_code(forks, log):
    child = spawn(forks, log, "wait")
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM
    child.send_signal(signal.SIGTERM)  # its pid may be somebody else's by now
    assert child.poll() == -signal.SIGTERM


def test_ps_and_top_show_what_runs(forks, log):
    child = spawn(forks, log, "wait", HEADRACE_INSTANCE="river-1")
    shown = psutil.Process(child.pid)
    wait_for(lambda: shown.name() == "river-1")
    assert " ".join(shown.cmdline()).split(" -m ")[1] == "forked_child wait"
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_what_was_forked_goes_on_when_the_fork_server_dies_which_is_started_again(forks, log, tmp_path):
    first = spawn(forks, log, "wait")
    wait_for(lambda: psutil.Process(first.pid).name() == "forked_child")  # it was let go on
    dead = forks.pid
    os.kill(dead, signal.SIGKILL)
    second = spawn(forks, log, "wait")
    assert forks.pid != dead
    assert (first.poll(), second.poll()) == (None, None)
    assert "the fork server is started again: it ended with signal 9" in (tmp_path / "fork-server.log").read_text()
    for child in (first, second):
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_modules_that_only_some_need_are_imported_before_these_are_forked(forks, log):
    for modules in ((), ("sndhdr",), ("colorsys",)):
        assert forks.spawn("forked_child", ["about", "sndhdr"], log, ENV, modules).wait() == 0
    assert [json.loads(line)["preloaded"] for line in log.read_text().splitlines()] == [False, True, True]


def test_a_stopped_fork_server_starts_nothing_and_ends_nothing(forks, log):
    child = spawn(forks, log, "wait")
    forks.stop()
    assert child.poll() is None
    with pytest.raises(ForkError, match="is stopped"):
        spawn(forks, log, "0")
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


def test_variables_that_are_read_once_decide_whether_a_process_can_be_forked(forks):
    env = {**os.environ, **ENV}
    assert forks.suits({**env, "HEADRACE_INSTANCE": "x"})
    assert not forks.suits({**env, "OMP_NUM_THREADS": "7"})
    assert not forks.suits({name: value for name, value in env.items() if name != "PYTHONPATH"})


def test_a_process_with_threads_is_not_forked_and_the_role_is_a_new_interpreter(tmp_path):
    # As a supervisor's roles: libraries that other tests import may have added variables of their own since.
    forks = ForkServer(tmp_path / "fork-server.log", {**os.environ, **ENV}, ["threaded"])
    role = RoleSpec("a", "supervised_child", "serve", ["serve"])
    try:
        with Supervisor(tmp_path, env=ENV, forks=forks) as supervisor:
            supervisor.start([StartWave([role])])
            supervisor.wait_ready(timeout=WAIT_S)
    finally:
        forks.stop()
    assert "the fork server has 2 threads: a module that it imports starts one" in (tmp_path / "logs/a.log").read_text()


def test_a_supervised_role_is_forked_and_comes_back_when_killed(forks, tmp_path):
    role = RoleSpec("a", "supervised_child", "serve", ["serve"])
    with Supervisor(tmp_path, env=ENV, forks=forks) as supervisor:
        supervisor.start([StartWave([role])])
        supervisor.wait_ready(timeout=WAIT_S)
        killed = supervisor.status("a").pid
        assert "fork" not in (tmp_path / "logs" / "a.log").read_text()
        supervisor.send("a", signal.SIGKILL)
        assert supervisor.wait_for(lambda: supervisor.restart_count("a") == 1, WAIT_S)
        supervisor.wait_ready(timeout=WAIT_S)
        assert supervisor.status("a").pid != killed
        assert psutil.Process(supervisor.status("a").pid).ppid() == os.getpid()
    assert (tmp_path / "history").read_text() == "started a\nstarted a\nstopped a\n"


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path):
    code = """
import pathlib, signal, sys
from headrace.launch.fork.client import ForkServer
folder = pathlib.Path(sys.argv[1])
import os
forks = ForkServer(folder / "fork-server.log", os.environ, [])
child = forks.spawn("forked_child", ["wait"], folder / "child.log", os.environ)
print(child.pid, forks.pid, flush=True)
signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=ENV
    ) as parent:
        started = [ProcessId.of(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(started) == 2
        assert all(one.alive() for one in started)
        parent.send_signal(signal.SIGKILL)
    assert process.wait_until(lambda: not any(one.alive() for one in started), WAIT_S)


def test_a_process_whose_fork_server_died_before_it_told_of_it_does_not_run():
    code = """
import os
from headrace.launch.fork import server
from headrace.platform.parent_death import become_parent_of_orphans
become_parent_of_orphans()
forked = server.fork_orphan()
if forked is None:
    os._exit(7)  # it went on
os.close(forked.gate)
print(os.waitstatus_to_exitcode(os.waitpid(forked.pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_only_pages_that_are_as_in_their_file_are_given_back():
    smaps = """\
7f0000000000-7f0000001000 r-xp 00000000 08:01 1234 /lib/libtorch.so
Rss:                   4 kB
Anonymous:             0 kB
7f0000001000-7f0000002000 r--p 00001000 08:01 1234 /lib/libtorch.so
Anonymous:             4 kB
7f0000002000-7f0000003000 rw-p 00002000 08:01 1234 /lib/libtorch.so
Anonymous:             0 kB
7f0000003000-7f0000004000 r--p 00000000 00:00 0
Anonymous:             0 kB
"""
    assert list(unwritten_files(smaps.splitlines())) == [(0x7F0000000000, 0x7F0000001000)]
