"""Whatever a role's code raises, and wherever: a log line with a short traceback and no secret. In real processes."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from headrace.runtime.crashes import MOST_LINES
from headrace.runtime.errors import ExitCode
from tests.patience import WAIT_S

ROLE = textwrap.dedent("""
    import asyncio, gc, logging, os, sys, threading, traceback, warnings
    from headrace.runtime.lifecycle import run_role
    from headrace.runtime.settings import ServiceSettings

    class Settings(ServiceSettings):
        ends: str = "raising"

    SAID = " ".join([os.environ[n] for n in ("HEADRACE_KAFKA_CONFIG", "REDIS_URL", "HEADRACE_SIGNING_KEY")] + sys.argv)

    def fails(where, *_):
        secret = SAID
        raise RuntimeError(where + " " + secret)

    class Unclean:
        def __del__(self):
            fails("in-del")

    class App:
        def __init__(self, context):
            self.context, self.said = context, SAID
        async def run(self, stop):
            for role in (lambda: fails("in-thread"), lambda: sys.exit(SAID)):
                thread = threading.Thread(target=role)
                thread.start()
                thread.join()
            asyncio.get_running_loop().call_soon(fails, "in-callback")
            lost = asyncio.create_task(self.work())
            await asyncio.sleep(0.01)
            del lost
            Unclean()
            gc.collect()
            warnings.warn("in-warning " + SAID)
            logging.getLogger("library").error("in-log %s", SAID)
            logging.getLogger("library").error("in-lost-log-line %d", SAID)
            logging.getLogger("library").error("in-stack", stack_info=True)
            try:
                fails("in-library")
            except RuntimeError:
                logging.getLogger("library").exception("caught")
                if self.context.settings.log_format == "console":
                    traceback.print_exc()
                    print(self.context.settings, self.context, file=sys.stderr)
            if self.context.settings.ends == "exit":
                sys.exit("in-exit " + SAID)
            fails("in-role")
        async def work(self):
            fails("in-task")

    sys.exit(run_role("worker", Settings, App, sys.argv[1:]))
""")

SECRETS = {
    "HEADRACE_KAFKA_CONFIG": '{"sasl.password": "MARK-1 \\"quoted\\"", "security.protocol": "PLAINTEXT"}',
    "REDIS_URL": "redis://:MARK-2%2F@127.0.0.1:1/0",
    "HEADRACE_SIGNING_KEY": "MARK-3",
}
FLAGS = ["--storage-url", "s3://user:MARK-4@bucket/x", "--kafka-config", '{"ssl.key.password": "MARK-5"}']


def run(*flags: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", ROLE, *flags]
    environ = {**os.environ, **SECRETS, **(env or {})}
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=WAIT_S, check=False)


@pytest.mark.parametrize("style", ["console", "json"])
def test_no_secret_gets_out_of_a_role_whatever_raises_and_wherever(style: str, tmp_path) -> None:
    done = run("--run-dir", str(tmp_path), "--log-format", style, *FLAGS)
    assert done.returncode == ExitCode.INTERNAL
    assert "MARK" not in done.stdout + done.stderr
    for where in ("thread", "callback", "task", "del", "warning", "log", "library", "role"):
        assert f"in-{where} " in done.stderr
    assert "a log line was lost" in done.stderr
    if style == "json":
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        tracebacks = [line["exception"].split("\n") for line in lines if "exception" in line]
        assert len(tracebacks) == 7
        assert max(map(len, tracebacks)) <= MOST_LINES


def test_what_is_said_at_exit_is_filtered(tmp_path) -> None:
    done = run("--run-dir", str(tmp_path), "--ends", "exit")
    assert done.returncode == 1
    assert "in-exit " in done.stderr
    assert "MARK" not in done.stderr


@pytest.mark.parametrize(
    "config",
    [
        '{"sasl.password": "MARK-1"', '["MARK-1"]', '{"sasl.password": {"a": "MARK-1"}}', "MARK-1",
        '{"sasl.password": "MARK-1", "ssl.key.password": null}',
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_not_shown(config: str) -> None:
    done = run(env={"HEADRACE_KAFKA_CONFIG": config})
    assert done.returncode == ExitCode.CONFIG
    assert "kafka" in done.stderr
    assert "MARK" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "flags", [["--signing-ky", "MARK-6"], ["--redis-ur=redis://:MARK-6@h"], ["--ops-port", "0", "MARK-6"]]
)
def test_the_value_of_a_flag_that_is_unknown_is_not_shown(flags: list[str]) -> None:
    done = run(*flags)
    assert done.returncode == ExitCode.CONFIG
    assert "unrecognized arguments" in done.stderr
    assert "MARK" not in done.stderr


def test_help_shows_no_value_of_the_environment() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--redis-url" in done.stdout
    assert "MARK" not in done.stdout + done.stderr
