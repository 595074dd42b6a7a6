"""One role's life under a supervisor: start, wait for its end, decide, wait, start again."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.launch.readiness import answers_ready, endpoint_file, endpoints_of
from headrace.launch.specs import RestartPolicy, RoleSpec, RoleStatus, State
from headrace.platform import process
from headrace.platform.files import log_tail


class Supervised:
    """A role and its current process. Its thread runs `live`; `probe` is called by the supervisor's; `stop` by anyone."""

    def __init__(
        self, spec: RoleSpec, run_dir: Path, env: Mapping[str, str], policy: RestartPolicy, changed: Callable[[], None]
    ) -> None:
        self.spec, self._run_dir, self._policy, self._changed = spec, run_dir, policy, changed
        self._env = {**env, "HEADRACE_RUN_DIR": str(run_dir), "HEADRACE_INSTANCE": spec.key, **spec.env}
        self.log = run_dir / "logs" / f"{spec.key}.log"
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._status = RoleStatus(spec.key, spec.role, None, State.WAITING, 0, None, {}, time.time())
        self._failures = self._never_ready = 0
        self._was_ready = False
        self._thread = threading.Thread(target=self._live, name=f"role-{spec.key}", daemon=True)

    @property
    def status(self) -> RoleStatus:
        """How it is now. Takes no lock, so that `changed` may be called while ours is held: one reference, never altered."""
        return self._status

    def start(self) -> None:
        """Begin its life."""
        self._thread.start()

    def _live(self) -> None:
        while not self._stopping.is_set():
            child = self._spawn()
            if child is None:
                break
            code, lasted = self._wait(child)
            if self._stopping.is_set():
                self._set(State.STOPPED, pid=None, exit_code=code, endpoints={})
            elif self._is_final(code, lasted):
                break
            elif not self._stopping.wait(self._policy.delay_s(self._failures)):
                self._set(State.WAITING, restarts=self.status.restarts + 1)
        if not self.status.state.over:
            self._set(State.STOPPED)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        command = [sys.executable, "-m", self.spec.module, *self.spec.args]
        with self._lock:
            if self._stopping.is_set():
                return None
            try:
                self._process = child = process.spawn(command, self.log, self._env)
            except OSError as error:
                self._set(State.FAILED, detail=f"cannot start: {error}")
                return None
            self._was_ready = False
            self._set(State.STARTING, pid=child.pid, endpoints={}, detail="")
        return child

    def _wait(self, child: subprocess.Popen[bytes]) -> tuple[int, float]:
        """The exit code, and how many seconds the process lived."""
        since = time.monotonic()
        code = child.wait()
        process.kill_group(child.pid)  # a crashed role's own children must not work beside its successor's
        if endpoints_of(self._run_dir, self.spec.key, child.pid) is not None:  # it had no time to withdraw them
            endpoint_file(self._run_dir, self.spec.key).unlink(missing_ok=True)
        return code, time.monotonic() - since

    def _is_final(self, code: int, lasted: float) -> bool:
        """Count the failure; whether this was the last life."""
        if code in self._policy.final:
            state = State.FINISHED if code == 0 else State.FAILED
            self._set(state, pid=None, exit_code=code, detail=f"exit code {code}", endpoints={})
            return True
        good = self._was_ready and lasted >= self._policy.good_life_s
        self._failures = 1 if good else self._failures + 1
        self._never_ready = 0 if self._was_ready else self._never_ready + 1
        gives_up = self._never_ready >= self._policy.give_up
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        again = f", {self._never_ready} times in a row before it was ready" if gives_up else ""
        self._set(
            State.FAILED if gives_up else State.WAITING, pid=None, exit_code=code, detail=how + again, endpoints={}
        )
        return gives_up

    def probe(self) -> None:
        """Ask the process whether it is ready, if it runs."""
        now = self.status
        if now.pid is None or now.state not in (State.STARTING, State.READY):
            return
        found = endpoints_of(self._run_dir, self.spec.key, now.pid)
        if found is None or "ops" not in found.endpoints:
            return
        ready, detail = answers_ready(found.endpoints["ops"])
        with self._lock:
            if self._status.pid != now.pid or self._status.state not in (State.STARTING, State.READY):
                return  # it ended while we asked
            self._was_ready = self._was_ready or ready
            self._set(
                State.READY if ready else State.STARTING, endpoints=found.endpoints, detail="" if ready else detail
            )

    def send(self, signal_number: int) -> None:
        """Send a signal to the current process, if there is one."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                os.kill(self._process.pid, signal_number)

    def ask_to_stop(self) -> None:
        """SIGTERM, and no restart after that."""
        with self._lock:
            self._stopping.set()
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                self._set(State.STOPPING)

    def join(self, timeout: float) -> bool:
        """Wait for the end, `timeout` seconds, then SIGKILL. True if it ended by itself. After `ask_to_stop`."""
        if not self._thread.ident:
            self._set(State.STOPPED)
            return True
        self._thread.join(timeout)
        in_time = not self._thread.is_alive()
        if not in_time and self._process is not None:
            process.kill_group(self._process.pid)
            self._thread.join()
        return in_time

    def failure(self) -> str:
        """One paragraph on why it failed: exit code and the tail of its log."""
        return f"{self.spec.key} failed ({self.status.detail}); {self.log} ends:\n{log_tail(self.log)}"

    def _set(self, state: State, **changes: Any) -> None:
        with self._lock:
            before = self._status
            since = before.since if state is before.state else time.time()
            self._status = replace(before, state=state, since=since, **changes)
            differs = self._status != before
        if differs:
            self._changed()
