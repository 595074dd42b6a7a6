"""A run's platform folder has one live owner; what a killed one left running is ended, and nobody else's."""

import json
import signal
import subprocess
import sys

import pytest

from headrace.platform import process
from headrace.platform.process import ProcessId
from headrace.platform.state import Claim, PlatformStatus, ServerStatus, read_status, write_state
from headrace.runtime.errors import PlatformError
from tests.patience import WAIT_S

HOLDER = """
import pathlib, signal, sys
from headrace.platform.state import Claim
claim = Claim(pathlib.Path(sys.argv[1]))
claim.take()
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def claim(tmp_path):
    made = Claim(tmp_path)
    yield made
    made.release()


@pytest.fixture
def sleeper(tmp_path):
    """A process that stands for a broker."""
    child = process.spawn([sys.executable, "-c", "import signal; signal.pause()"], tmp_path / "sleeper.log")
    yield child
    process.stop(child, 0)


def record(folder, *servers):
    gone = ProcessId(2**22 + 1, 1.0)
    write_state(folder, PlatformStatus(gone, ready=True, servers=list(servers)))


def test_an_orphan_of_a_killed_owner_is_ended(tmp_path, claim, sleeper):
    record(tmp_path, ServerStatus("kafka", "running", "127.0.0.1:1", ProcessId.of(sleeper.pid)))
    claim.take()
    assert sleeper.wait(WAIT_S) == -signal.SIGTERM


def test_a_stranger_with_the_orphans_pid_is_left_alone(tmp_path, claim, sleeper):
    real = ProcessId.of(sleeper.pid)
    record(tmp_path, ServerStatus("kafka", "running", "127.0.0.1:1", ProcessId(real.pid, real.started - 3600)))
    claim.take()
    assert real.alive()


def test_a_second_owner_is_refused_while_the_first_lives_and_not_after(tmp_path, claim):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(PlatformError, match="is in use") as raised:
            claim.take()
        assert "--run-dir" in raised.value.hint
        holder.kill()
    claim.take()
    assert claim.held


def test_the_ports_of_last_time_are_remembered(tmp_path, claim):
    kafka = ServerStatus("kafka", "stopped", "127.0.0.1:2345", None)
    redis = ServerStatus("redis", "running", "redis://127.0.0.1:3456/0", None)
    record(tmp_path, kafka, redis)
    assert claim.last_ports() == {"kafka": 2345, "redis": 3456}


def test_an_external_server_has_no_port_of_ours(tmp_path, claim):
    record(tmp_path, ServerStatus("kafka", "external", "broker:9092", None))
    assert claim.last_ports() == {}


def test_the_password_of_an_external_server_is_not_written(tmp_path):
    record(tmp_path, ServerStatus("redis", "external", "redis://:hush@cache:1/0", None))
    assert read_status(tmp_path).address("redis") == "redis://:***@cache:1/0"


def test_status_says_only_what_is_still_true(tmp_path, sleeper):
    record(tmp_path, ServerStatus("kafka", "running", "127.0.0.1:1", ProcessId.of(sleeper.pid)))
    assert [server.state for server in read_status(tmp_path).servers] == ["running", "stopped"]
    process.stop(sleeper, WAIT_S)
    found = read_status(tmp_path)
    assert [server.state for server in found.servers] == ["stopped", "stopped"]
    assert (found.owner, found.ready) == (None, False)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"owner": "x", "kafka": None})])
def test_a_damaged_state_file_is_as_good_as_none(tmp_path, claim, content):
    (tmp_path / "state.json").write_text(content)
    assert read_status(tmp_path).owner is None
    claim.take()
    assert claim.last_ports() == {}
