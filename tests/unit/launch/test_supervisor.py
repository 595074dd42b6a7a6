"""Roles are started in order, brought back when they crash, stopped in reverse order, and never orphaned."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.launch.specs import RestartPolicy, RoleSpec, StartWave, State
from headrace.launch.supervisor import Supervisor
from headrace.platform import process
from headrace.platform.process import ProcessId
from headrace.runtime.errors import PlatformError
from tests.patience import WAIT_S

HERE = Path(__file__).parent
AT_ONCE = RestartPolicy(base_s=0, good_life_s=0, give_up=3)


def spec(instance, role="serve", **more):
    return RoleSpec(
        instance, "supervised_child", role, [role], instance=instance, env={"PYTHONPATH": str(HERE)}, **more
    )


@pytest.fixture
def supervisor(tmp_path):
    with Supervisor(tmp_path, policy=AT_ONCE) as made:
        yield made


def history(run_dir):
    """What the children did, in order: "<what> <instance>"."""
    path = run_dir / "history"
    return path.read_text().splitlines() if path.exists() else []


def test_roles_become_ready_and_publish_where_they_are(supervisor):
    supervisor.start([StartWave([spec("a"), spec("b")])])
    supervisor.wait_ready(timeout=WAIT_S)
    assert [(s.instance, s.state, s.restarts) for s in supervisor.statuses()] == [("a", "ready", 0), ("b", "ready", 0)]
    assert supervisor.status("a").endpoints["ops"].startswith("http://127.0.0.1:")


def test_a_stage_that_is_waited_for_is_ready_before_the_next_starts(supervisor, tmp_path):
    supervisor.start([StartWave([spec("first")], wait_ready=True, ready_timeout_s=WAIT_S), StartWave([spec("second")])])
    supervisor.wait_ready(timeout=WAIT_S)
    assert history(tmp_path) == ["started first", "started second"]


def test_stages_stop_in_reverse_order(supervisor, tmp_path):
    supervisor.start([StartWave([spec("first")]), StartWave([spec("second")]), StartWave([spec("third")])])
    supervisor.wait_ready(timeout=WAIT_S)
    supervisor.stop()
    assert [line for line in history(tmp_path) if "stopped" in line] == [
        "stopped third",
        "stopped second",
        "stopped first",
    ]
    assert {(s.state, s.pid, s.exit_code) for s in supervisor.statuses()} == {("stopped", None, 0)}
    supervisor.stop()


def test_a_killed_role_comes_back_as_another_process(supervisor):
    supervisor.start([StartWave([spec("a")])])
    supervisor.wait_ready(timeout=WAIT_S)
    for life in (1, 2, 3, 4):
        before = supervisor.status("a").pid
        supervisor.send("a", signal.SIGKILL)
        assert supervisor.wait_for(lambda life=life: supervisor.restart_count("a") == life, WAIT_S)
        supervisor.wait_ready("a", timeout=WAIT_S)
        assert supervisor.status("a").pid != before
    assert supervisor.status("a").exit_code == -signal.SIGKILL


def test_a_role_that_never_gets_ready_is_given_up_with_its_log(supervisor, tmp_path):
    supervisor.start([StartWave([spec("a", "crash")])])
    with pytest.raises(PlatformError, match="something is broken") as raised:
        supervisor.wait_ready(timeout=WAIT_S)
    assert "exit code 9, 3 times in a row" in raised.value.message
    assert history(tmp_path) == ["started a"] * 3
    with pytest.raises(PlatformError):
        supervisor.raise_for_failures()


def test_a_wrong_setting_is_not_tried_again(supervisor, tmp_path):
    supervisor.start([StartWave([spec("a", "misconfigured")])])
    with pytest.raises(PlatformError, match="no such pipeline"):
        supervisor.wait_ready(timeout=WAIT_S)
    assert (supervisor.status("a").state, supervisor.status("a").exit_code) == (State.FAILED, 2)
    assert history(tmp_path) == ["started a"]


def test_work_that_is_done_is_not_done_again(supervisor, tmp_path):
    supervisor.start([StartWave([spec("a", "work")])])
    supervisor.wait_ready(timeout=WAIT_S)
    assert (supervisor.status("a").state, supervisor.restart_count("a")) == (State.FINISHED, 0)
    assert history(tmp_path) == ["started a"]


def test_a_role_that_is_not_ready_in_time_is_named_with_what_it_waits_for(supervisor):
    supervisor.start([StartWave([spec("a", "unready")])])
    assert supervisor.wait_for(lambda: "weights" in supervisor.status("a").detail, WAIT_S)
    with pytest.raises(PlatformError, match=r"not ready after 0 s: a .*weights"):
        supervisor.wait_ready(timeout=0)


def test_a_predecessors_endpoint_file_is_not_believed(supervisor, tmp_path):
    stale = tmp_path / "endpoints" / "a.json"
    stale.parent.mkdir()
    stale.write_text(json.dumps({"role": "x", "instance": "a", "pid": 1, "endpoints": {"ops": "http://127.0.0.1:1"}}))
    supervisor.start([StartWave([spec("a")])])
    supervisor.wait_ready(timeout=WAIT_S)
    assert supervisor.status("a").endpoints["ops"] != "http://127.0.0.1:1"


def test_the_addresses_of_a_killed_role_are_withdrawn(supervisor, tmp_path):
    supervisor.start([StartWave([spec("a")])])
    supervisor.wait_ready(timeout=WAIT_S)
    supervisor.stop()
    assert not (tmp_path / "endpoints" / "a.json").exists()


def test_a_role_that_ignores_the_request_is_killed_with_its_children(supervisor, tmp_path):
    supervisor.start([StartWave([spec("a", "stubborn", stop_timeout_s=0.1)])])
    supervisor.wait_ready(timeout=WAIT_S)
    grandchild = ProcessId.of(int((tmp_path / "grandchild").read_text()))
    supervisor.stop()
    assert supervisor.status("a").exit_code == -signal.SIGKILL
    assert process.wait_until(lambda: not grandchild.alive(), WAIT_S)


def test_the_file_tells_other_processes_who_runs(supervisor, tmp_path):
    supervisor.start([StartWave([spec("a")])])
    supervisor.wait_ready(timeout=WAIT_S)
    found = json.loads((tmp_path / "supervisor.json").read_text())
    assert ProcessId.parse(found).alive()
    assert [(r["instance"], r["state"], r["pid"]) for r in found["roles"]] == [
        ("a", "ready", supervisor.status("a").pid)
    ]


def test_changes_are_announced(tmp_path):
    seen = []
    with Supervisor(tmp_path, policy=AT_ONCE, on_change=lambda: seen.append(1)) as made:
        made.start([StartWave([spec("a", "work")])])
        made.wait_ready(timeout=WAIT_S)
    assert len(seen) >= 2


def test_two_roles_cannot_have_one_name(supervisor):
    supervisor.start([StartWave([spec("a", "work")])])
    with pytest.raises(PlatformError, match="an instance 'a' already"):
        supervisor.add(spec("a"))
    with pytest.raises(PlatformError, match="no instance 'b'"):
        supervisor.status("b")


def test_a_stopped_supervisor_starts_nothing(supervisor):
    supervisor.stop()
    with pytest.raises(PlatformError, match="is stopped"):
        supervisor.add(spec("a"))


def test_stopping_while_a_role_waits_for_its_restart_ends_at_once(tmp_path):
    slow = RestartPolicy(base_s=3600, most_s=3600)
    with Supervisor(tmp_path, policy=slow) as made:
        made.start([StartWave([spec("a", "crash")])])
        assert made.wait_for(lambda: made.restart_count("a") == 1 and made.status("a").exit_code is not None, WAIT_S)
        assert made.wait_for(lambda: made.status("a").state is State.WAITING and made.status("a").pid is None, WAIT_S)
    assert made.status("a").state is State.STOPPED


def test_waits_between_restarts_grow_to_a_limit():
    policy = RestartPolicy(base_s=0.5, factor=2, most_s=3)
    assert [policy.delay_s(failures) for failures in range(1, 7)] == [0, 0.5, 1, 2, 3, 3]


def test_no_role_outlives_a_killed_supervisor(tmp_path):
    code = f"""
import pathlib, signal, sys
sys.path.insert(0, {str(HERE)!r})
from test_supervisor import spec, StartWave, Supervisor
made = Supervisor(pathlib.Path(sys.argv[1]))
made.start([StartWave([spec("a"), spec("b")])])
made.wait_ready()
print(*(s.pid for s in made.statuses()), flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        roles = [ProcessId.of(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(roles) == 2
        assert all(role.alive() for role in roles)
        parent.send_signal(signal.SIGKILL)
    assert process.wait_until(lambda: not any(role.alive() for role in roles), WAIT_S)
