"""`headrace platform up | down | status`: Kafka and Redis on this machine, and nothing else."""

import json
import os
import shlex
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from headrace.launch import runs
from headrace.launch.supervisor import Supervisor
from headrace.platform import Endpoints, LocalPlatform, PlatformStatus
from headrace.platform.detached import start_detached
from headrace.platform.state import read_status
from headrace.platform.valkey import with_password
from headrace.runtime.errors import PlatformError
from headrace.runtime.secrets import masked
from headrace.runtime.settings import KAFKA_CONFIG
from headrace.security.operator import operator_config
from headrace.security.secured import Secured

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Kafka and Redis on this machine, and nothing else."
)

DEFAULT_RUN = "platform"
_CHECK_S = 0.5

RunName = Annotated[str, typer.Option("--run", help="the run's name; its folder keeps topics and logs")]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="the run's folder, instead of one by its name")]


@app.command()
def up(
    run: RunName = DEFAULT_RUN,
    run_dir: RunDir = None,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="return when both answer; `down` stops them")] = False,
    kafka_port: Annotated[int | None, typer.Option(help="a fixed port for Kafka [default: a free one]")] = None,
    redis_port: Annotated[int | None, typer.Option(help="a fixed port for Redis [default: a free one]")] = None,
    secure: Annotated[
        bool, typer.Option("--secure", help="Kafka with TLS, passwords and ACLs, one principal a role; Redis with one")
    ] = False,
    pipeline: Annotated[
        list[str] | None, typer.Option(help="with --secure: a pipeline whose topics the roles may use, by its name")
    ] = None,
) -> None:
    """Start Kafka and Redis and print their addresses as environment variables; Ctrl-C stops them.

    A server that dies is started again at the same address, Kafka on its data.
    What KAFKA_BOOTSTRAP_SERVERS or REDIS_URL names is used, not started. The first start fetches Apache Kafka, 39 MB.

    For example:

      headrace platform up

      eval "$(headrace platform up --detach)" && make test

      headrace platform up --kafka-port 9092 --redis-port 6379
    """
    folder = runs.create(run, run_dir)
    if detach:
        flags = _flags(kafka_port, redis_port, pipeline or [], secure=secure)
        endpoints = start_detached(_command(folder, run, flags), folder)
        if secure:  # what it wrote down holds no password
            password = Secured(folder / "platform" / "security").redis_password
            endpoints = replace(endpoints, redis_url=with_password(endpoints.redis_url, password))
        _print_exports(endpoints, folder)
        return
    told: list[int] = []  # no Event: if this thread held its lock when the signal came, setting it would never return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: told.append(number))
    secured = Secured(folder / "platform" / "security", pipeline or []) if secure else None
    platform = LocalPlatform(folder, kafka_port=kafka_port, redis_port=redis_port, security=secured)
    since = time.monotonic()
    with platform, Supervisor(folder) as supervisor:
        supervisor.watch(platform)
        _print_exports(platform.endpoints, folder)
        _say(f"ready after {time.monotonic() - since:.1f} s; data and logs in {platform.folder}; Ctrl-C stops")
        while not told:
            time.sleep(_CHECK_S)
            supervisor.raise_for_failures()
        _say("stopping")


def _flags(kafka_port: int | None, redis_port: int | None, pipelines: list[str], *, secure: bool) -> list[str]:
    ports = {"--kafka-port": kafka_port, "--redis-port": redis_port}
    flags = [part for flag, port in ports.items() if port for part in (flag, str(port))]
    return [*flags, *(["--secure"] if secure else []), *(part for one in pipelines for part in ("--pipeline", one))]


def _command(folder: Path, run: str, flags: list[str]) -> list[str]:
    """This command, to run as a process of its own."""
    return [
        sys.executable,
        "-m",
        "headrace.cli.commands.platform",
        "up",
        "--run",
        run,
        "--run-dir",
        str(folder),
        *flags,
    ]


@app.command()
def down(run: RunName = DEFAULT_RUN, run_dir: RunDir = None) -> None:
    """Stop what `up` started, Redis first, then Kafka; topics and logs stay.

    For example:

      headrace platform down
    """
    folder = runs.find(run_dir or run)
    stopped = runs.stop(folder)
    _say(f"stopped {folder.name}" if stopped else f"{folder.name} was not running")


@app.command()
def status(run: RunName = DEFAULT_RUN, run_dir: RunDir = None) -> None:
    """Show whether Kafka and Redis run, where, and as which processes. Exits with 3 unless both are up.

    For example:

      headrace platform status
    """
    found = read_status(runs.find(run_dir or run) / "platform")
    Console().print(_table(found))
    if not found.ready or any(server.state == "stopped" for server in found.servers):
        raise typer.Exit(int(PlatformError.exit_code))


def _table(status: PlatformStatus) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("server", "state", "address", "pid"):
        table.add_column(heading)
    for server in status.servers:
        pid = str(server.process.pid) if server.process else ""
        table.add_row(server.name, server.state, masked(server.address), pid)
    return table


def _print_exports(endpoints: Endpoints, folder: Path) -> None:
    """The addresses, for `eval`; without one that holds a password which the caller's environment has already.

    Where Kafka asks for a password, the operator's; the roles' own are in `platform/security` of the run's folder.
    """
    if config := operator_config(folder):
        print(f"export {KAFKA_CONFIG}={shlex.quote(json.dumps(config))}", flush=True)
    for name, value in endpoints.as_env().items():
        given = os.environ.get(name, "")
        if given != masked(given) and masked(given) == masked(value):
            _say(f"{name} stays as it is: {masked(value)}")
        else:
            print(f"export {name}={shlex.quote(value)}", flush=True)


def _say(text: str) -> None:
    print(f"headrace: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    from headrace.cli import guarded, log_to_stderr

    log_to_stderr()
    guarded(app)
