"""A role's life, in a real process: ready, answering, stopped in order, with a telling exit code."""

import json
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime.endpoints import find, read_endpoints
from headrace.runtime.errors import ExitCode
from tests.patience import WAIT_S

ROLE = textwrap.dedent("""
    import asyncio, sys
    from headrace.runtime.errors import FencedError
    from headrace.runtime.lifecycle import Context, Stop, run_role, until_stopped
    from headrace.runtime.settings import ServiceSettings

    class Settings(ServiceSettings):
        mode: str = "work"

    class App:
        def __init__(self, context):
            self.context = context
            context.ready.declare("input")
        async def run(self, stop):
            mode = self.context.settings.mode
            if mode == "fenced":
                raise FencedError("model 'm': epoch 3 is over", hint="epoch 4 has begun")
            if mode == "bug":
                raise KeyError("a bug")
            self.context.ready.set("input", True, "redis://:hush@h answers")
            self.context.publish_endpoint("rest", "http://127.0.0.1:1")
            await stop.waited()
            if mode == "hang":
                await asyncio.sleep(60)

    sys.exit(run_role("worker", Settings, App, sys.argv[1:]))
""")


def wait_for(condition: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.01)
    raise TimeoutError(f"{condition} did not hold within {seconds} s")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*flags: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", ROLE, "--run-dir", str(tmp_path), "--instance", "w0", *flags]
        started.append(subprocess.Popen(argv, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_role_publishes_its_endpoints_answers_and_stops_in_order(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start()
    wait_for(lambda: find(tmp_path, "worker", "rest"))
    (ops,) = find(tmp_path, "worker", "ops")

    assert get(f"{ops}/healthz") == (200, "ok\n")
    status, body = get(f"{ops}/readyz")
    assert (status, json.loads(body)) == (
        200,
        {"ready": True, "checks": {"input": {"ok": True, "detail": "redis://:***@h answers"}}},
    )
    assert "headrace_build_info" in get(f"{ops}/metrics")[1]
    assert get(f"{ops}/nothing")[0] == 404
    assert read_endpoints(tmp_path)[0].pid == process.pid

    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode == ExitCode.OK
    assert "SIGTERM" in log
    assert read_endpoints(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--mode", "fenced"], ExitCode.FENCED, "epoch 3 is over"),
        (["--mode", "bug"], ExitCode.INTERNAL, "a bug"),
        (["--ops-port", "http"], ExitCode.CONFIG, "--ops-port"),
        (["--no-such-flag", "1"], ExitCode.CONFIG, "--no-such-flag"),
    ],
)
def test_an_exit_code_says_what_went_wrong(
    start: Callable[..., Any], flags: list[str], code: ExitCode, said: str
) -> None:
    process = start(*flags)
    _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode == code
    assert said in log


def test_a_stop_that_hangs_ends_at_its_deadline(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("--mode", "hang", "--shutdown-timeout-s", "0.2")
    wait_for(lambda: find(tmp_path, "worker", "rest"))
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode == ExitCode.DEADLINE
    assert "did not stop in time" in log


def test_a_second_signal_ends_it_at_once(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("--mode", "hang")
    wait_for(lambda: find(tmp_path, "worker", "rest"))

    def signalled_to_its_end() -> bool:
        process.send_signal(signal.SIGTERM)  # two sent at once would arrive as one
        return process.poll() is not None

    wait_for(signalled_to_its_end)
    assert process.returncode == ExitCode.DEADLINE


def test_a_port_that_is_taken_is_a_readable_error(start: Callable[..., Any], tmp_path: Path) -> None:
    start()
    (ops,) = wait_for(lambda: find(tmp_path, "worker", "ops"))
    port = ops.rsplit(":", 1)[1]
    second = start("--ops-port", port, "--instance", "w1")
    _, log = second.communicate(timeout=WAIT_S)
    assert second.returncode == ExitCode.CONFIG
    assert f"cannot listen on 127.0.0.1:{port}" in log
