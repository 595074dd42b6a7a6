"""A role's life in its order: settings, logs, ops server, readiness, work, orderly stop, exit code (`run_role`).

SIGTERM or SIGINT sets the `Stop`. The app then takes no more work, finishes the work in progress, commits, closes its
clients and returns from `run`. A second signal, or the deadline, ends the process at once.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from headrace import __version__
from headrace.runtime import garbage, logging, metrics
from headrace.runtime.access.edge import Edge
from headrace.runtime.endpoints import EndpointFile
from headrace.runtime.errors import ExitCode, HeadraceError
from headrace.runtime.ops import OpsServer
from headrace.runtime.settings import ServiceSettings, describe, load

S = TypeVar("S", bound=ServiceSettings)


class Stop:
    """A request to stop. A signal, an error or another thread sets it once; threads and coroutines wait for it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.reason = ""

    def set(self, reason: str) -> None:
        """Ask for an orderly stop. Only the first `reason` is kept."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            waiters, self._waiters = self._waiters, []
        for loop, event in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def is_set(self) -> bool:
        """Whether somebody has asked for a stop."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until somebody asks for a stop, for `timeout` seconds at most; whether somebody has."""
        return self._event.wait(timeout)

    async def waited(self) -> None:
        """Return once somebody has asked for a stop."""
        event = asyncio.Event()
        with self._lock:
            if self._event.is_set():
                return
            self._waiters.append((asyncio.get_running_loop(), event))
        await event.wait()


class Readiness:
    """Named conditions, all of which must hold before this process can do its work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checks: dict[str, tuple[bool, str]] = {}

    def declare(self, *names: str) -> None:
        """Name conditions that do not hold yet."""
        for name in names:
            self.set(name, False, "not yet")  # noqa: FBT003 - the value is the point

    def set(self, name: str, ok: bool, detail: str = "") -> None:  # noqa: FBT001 - the value is the point
        """Set whether a condition holds, and in a few words why."""
        with self._lock:
            self._checks[name] = (ok, detail)
            metrics.READY.set(all(good for good, _ in self._checks.values()))

    def withdraw(self, name: str) -> None:
        """Remove a condition, which matters no longer."""
        with self._lock:
            self._checks.pop(name, None)
            metrics.READY.set(all(good for good, _ in self._checks.values()))

    def state(self) -> tuple[bool, dict[str, Any]]:
        """Whether all conditions hold, and every one with its detail."""
        with self._lock:
            checks = dict(self._checks)
        return all(ok for ok, _ in checks.values()), {n: {"ok": ok, "detail": d} for n, (ok, d) in checks.items()}


@dataclass
class Context(Generic[S]):
    """What a role is built from."""

    role: str
    settings: S
    stop: Stop
    ready: Readiness
    log: logging.Logger
    edge: Edge
    """Who may call the role's ports."""
    _endpoints: EndpointFile = field(repr=False)

    def publish_endpoint(self, name: str, address: str) -> None:
        """Publish an address in this process's endpoint file: "rest" and "ops" are URLs, "grpc" is host:port."""
        self._endpoints.add(name, address)


class App(Protocol):
    """A role's work."""

    async def run(self, stop: Stop) -> None:
        """Work until `stop` is set; return once the work in progress is finished and everything is closed."""
        ...


def run_role(
    role: str,
    settings_type: type[S],
    build: Callable[[Context[S]], App],
    argv: Sequence[str],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Run one role to its end and return the process's exit code.

    Args:
        role: the role's name (headrace/launch/roles.py).
        settings_type: the class of its settings.
        build: makes the app of its context.
        argv: the flags.
        loop_factory: makes the event loop; default asyncio's own.
    """
    log = logging.get_logger(f"headrace.{role}")
    logging.guard(argv, log)
    logging.configure(role=role)  # for errors in the settings themselves
    try:
        settings = load(settings_type, role, argv)
        logging.configure(settings.log_level, settings.log_format, role=role, instance=settings.instance)
        log.info("starting", version=__version__, settings=describe(settings))
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(_live(role, settings, build, log))
    except HeadraceError as error:
        log.error("stopped", error=error.message, hint=error.hint, exit_code=int(error.exit_code))  # noqa: TRY400
        return int(error.exit_code)
    except Exception:
        log.exception("crashed", exit_code=int(ExitCode.INTERNAL))
        return int(ExitCode.INTERNAL)


async def _live(role: str, settings: S, build: Callable[[Context[S]], App], log: logging.Logger) -> int:
    stop, ready = Stop(), Readiness()
    metrics.BUILD.info({"version": __version__, "role": role})
    deadline = _Deadline(settings.shutdown_timeout_s, log)
    _on_signals(stop, deadline)
    edge = Edge(settings, role)
    ops = OpsServer(settings.ops_host or settings.host, settings.ops_port, ready.state, edge.may_read)
    endpoints = EndpointFile(settings.run_folder, role, settings.instance)
    try:
        ready.declare("built")  # the role declares its own conditions in `build`
        ops.start()
        endpoints.add("ops", ops.url)
        await asyncio.to_thread(edge.start)
        app = build(Context(role, settings, stop, ready, log, edge, endpoints))
        ready.withdraw("built")
        garbage.settle()
        started = time.monotonic()
        await app.run(stop)
        log.info("stopped", reason=stop.reason or "work done", ran_s=round(time.monotonic() - started, 1))
    finally:
        endpoints.remove()
        ops.stop()
        edge.stop()
        deadline.cancel()
    return int(ExitCode.OK)


def _on_signals(stop: Stop, deadline: "_Deadline") -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        name = signal.Signals(number).name

        def handle(name: str = name) -> None:
            if stop.is_set():
                os._exit(int(ExitCode.DEADLINE))
            deadline.start()
            stop.set(name)

        loop.add_signal_handler(number, handle)


class _Deadline:
    """Ends the process when an orderly stop takes too long. It is a thread, since the event loop may be what hangs."""

    def __init__(self, seconds: float, log: logging.Logger) -> None:
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._seconds = seconds
        self._log = log

    def start(self) -> None:
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self._log.error("did not stop in time", deadline_s=self._seconds, exit_code=int(ExitCode.DEADLINE))
        sys.stderr.flush()
        os._exit(int(ExitCode.DEADLINE))


async def until_stopped(stop: Stop, *work: Awaitable[None]) -> None:
    """Run all of `work` at the same time until one fails or ends, or somebody asks for a stop; then cancel the others.

    Raises:
        Exception: the first that one of them raised.
    """
    tasks = [asyncio.ensure_future(w) for w in work]
    stopped = asyncio.ensure_future(stop.waited())
    try:
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*tasks, stopped):
            task.cancel()
        await asyncio.gather(*tasks, stopped, return_exceptions=True)
