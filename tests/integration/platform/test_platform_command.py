"""`headrace platform`: as a user runs it, and as a machine kills it."""

import os
import signal
import subprocess
import sys

import pytest

from headrace.launch import runs
from headrace.platform import process
from headrace.platform.process import ProcessId
from headrace.platform.state import read_status
from tests.patience import WAIT_S


@pytest.fixture
def command(tmp_path):
    """Starts `headrace platform ...` with a home of its own and nothing named."""
    env = {k: v for k, v in os.environ.items() if k not in {"KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL"}}
    env["HEADRACE_HOME"] = str(tmp_path)
    started = []

    def command(*words):
        line = [sys.executable, "-m", "headrace.cli.commands.platform", *words]
        started.append(subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield command
    for child in started:
        with child:
            child.kill()
    runs.stop(tmp_path / "runs" / "platform")


def servers(folder):
    return [server.process for server in read_status(folder / "platform").servers]


def gone(found):
    return process.wait_until(lambda: not any(one.alive() for one in found), WAIT_S)


def test_up_prints_exports_and_ctrl_c_stops_everything(command, tmp_path):
    up = command("up")
    assert up.stdout.readline().startswith("export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:")
    assert up.stdout.readline().startswith("export REDIS_URL=redis://127.0.0.1:")
    ran = servers(tmp_path / "runs" / "platform")
    assert all(isinstance(one, ProcessId) for one in ran)
    up.send_signal(signal.SIGINT)
    assert up.wait(WAIT_S) == 0
    assert not any(one.alive() for one in ran)


def test_a_killed_server_is_started_again_at_its_address(command, tmp_path):
    folder = tmp_path / "runs" / "platform"
    up = command("up")
    exports = [up.stdout.readline(), up.stdout.readline()]
    before = {server.name: server for server in read_status(folder / "platform").servers}
    os.kill(before["redis"].process.pid, signal.SIGKILL)

    def redis_now():
        return next(server for server in read_status(folder / "platform").servers if server.name == "redis")

    assert process.wait_until(lambda: redis_now().process not in (None, before["redis"].process), WAIT_S)
    assert redis_now().address == before["redis"].address
    assert redis_now().address in exports[1]
    assert up.poll() is None
    up.send_signal(signal.SIGTERM)
    assert up.wait(WAIT_S) == 0


def test_a_killed_up_leaves_no_process_and_its_folder_is_usable_again(command, tmp_path):
    folder = tmp_path / "runs" / "platform"
    up = command("up")
    exports = [up.stdout.readline(), up.stdout.readline()]
    ran = servers(folder)
    up.kill()
    up.wait()
    assert gone(ran)

    again = command("up", "--detach")
    out, err = again.communicate(timeout=WAIT_S)
    assert (again.returncode, out) == (0, "".join(exports)), err
    ran = servers(folder)

    status = command("status")
    assert status.communicate(timeout=WAIT_S)[0].count("running") == 2
    assert status.returncode == 0

    second = command("up")
    assert "is in use by process" in second.communicate(timeout=WAIT_S)[1]
    assert second.returncode == 3

    down = command("down")
    assert "stopped platform" in down.communicate(timeout=WAIT_S)[1]
    assert gone(ran)
    status = command("status")
    assert status.communicate(timeout=WAIT_S)[0].count("stopped") == 2
    assert status.returncode == 3
