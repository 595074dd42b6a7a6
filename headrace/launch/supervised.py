"""One program's life under a supervisor: start, wait for its end, decide, wait, start again."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headrace.launch.programs import Child, Program
from headrace.launch.specs import RestartPolicy, RoleStatus, State
from headrace.platform import process
from headrace.platform.files import log_tail
from headrace.runtime.errors import HeadraceError

_LOOK_AGAIN_S = 0.05


class Supervised:
    """A program and its current process. Its thread runs `_live`; the supervisor's calls `probe`; anyone may stop it.

    Args:
        program: how a process of it is started and looked at.
        policy: when it is started again.
        changed: called after every change of the status, from any thread; must be quick.
        missing: names what the program needs and is not ready now, "" where nothing is missing. While something is
            missing, the program is not started again, and the end of its process does not count as a failure.
    """

    def __init__(
        self,
        program: Program,
        policy: RestartPolicy,
        changed: Callable[[], None],
        missing: Callable[[], str] = str,
    ) -> None:
        self.program, self._policy, self._changed, self._missing = program, policy, changed, missing
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._child: Child | None = None
        self._status = RoleStatus(program.key, program.role, None, State.WAITING, 0, None, {}, time.time())
        self._failures = self._never_ready = 0
        self._was_ready = False
        self._thread = threading.Thread(target=self._live, name=f"role-{program.key}", daemon=True)

    @property
    def status(self) -> RoleStatus:
        """The status now. Reads one reference without the lock, so `changed` may ask for it while the lock is held."""
        return self._status

    def start(self) -> None:
        """Begin its life."""
        self._thread.start()

    def _live(self) -> None:
        while not self._stopping.is_set():
            child = self._start_process()
            if child is not None:
                code, lasted = self._wait(child)
                if self._stopping.is_set():
                    self._set(State.STOPPED, pid=None, exit_code=code, endpoints={})
                elif self._is_last(code, lasted):
                    break
            elif self.status.state.over:
                break
            if self._may_go_on():
                self._set(State.WAITING, restarts=self.status.restarts + 1)
        if not self.status.state.over:
            self._set(State.STOPPED)

    def _start_process(self) -> Child | None:
        self._was_ready = False
        try:
            child = self.program.start()
        except (OSError, HeadraceError) as error:
            self._count_failure(None, f"cannot start: {error}")
            return None
        with self._lock:
            self._child = child
            self._set(State.STARTING, pid=child.pid, endpoints={}, detail="")
            if self._stopping.is_set():  # asked to stop while it was started
                self._terminate(child)
        return child

    def _wait(self, child: Child) -> tuple[int, float]:
        """The exit code, and how many seconds the process lived."""
        since = time.monotonic()
        code = child.wait()
        self.program.ended(child.pid)
        return code, time.monotonic() - since

    def _is_last(self, code: int, lasted: float) -> bool:
        """Note how the process ended; whether there will be no other."""
        if code in self._policy.final:
            state = State.FINISHED if code == 0 else State.FAILED
            self._set(state, pid=None, exit_code=code, detail=f"exit code {code}", endpoints={})
            return True
        if self._was_ready and lasted >= self._policy.good_life_s:
            self._failures = 0
        return self._count_failure(code, f"signal {-code}" if code < 0 else f"exit code {code}")

    def _count_failure(self, code: int | None, how: str) -> bool:
        """Note a failure; whether it was the last one that the policy allows."""
        if not self._missing():
            self._failures += 1
            self._never_ready = 0 if self._was_ready else self._never_ready + 1
        gives_up = self._never_ready >= self._policy.give_up
        again = f", {self._never_ready} times in a row before it was ready" if gives_up else ""
        self._set(
            State.FAILED if gives_up else State.WAITING, pid=None, exit_code=code, detail=how + again, endpoints={}
        )
        return gives_up

    def _may_go_on(self) -> bool:
        """Wait as long as the policy says, and for what is missing; False if asked to stop meanwhile."""
        if self._stopping.wait(self._policy.delay_s(self._failures)):
            return False
        while missing := self._missing():
            self._set(State.WAITING, detail=f"waits for {missing}")
            if self._stopping.wait(_LOOK_AGAIN_S):
                return False
        return True

    def probe(self) -> None:
        """Look at the process, if it runs."""
        now = self.status
        if now.pid is None or now.state not in (State.STARTING, State.READY):
            return
        look = self.program.look(now.pid)
        if look is None:
            return
        with self._lock:
            if self._status.pid != now.pid or self._status.state not in (State.STARTING, State.READY):
                return  # it ended while we looked
            self._was_ready = self._was_ready or look.ready
            self._set(State.READY if look.ready else State.STARTING, endpoints=look.endpoints, detail=look.detail)

    def send(self, signal_number: int) -> None:
        """Send a signal to the current process, if there is one."""
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                self._child.send_signal(signal_number)

    def ask_to_stop(self) -> None:
        """SIGTERM, and no restart after that."""
        with self._lock:
            self._stopping.set()
            if self._child is not None:
                self._terminate(self._child)

    def _terminate(self, child: Child) -> None:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            self._set(State.STOPPING)

    def join(self, timeout: float) -> bool:
        """Wait for the end, `timeout` seconds, then SIGKILL. True if it ended by itself. After `ask_to_stop`."""
        if not self._thread.ident:
            self._set(State.STOPPED)
            return True
        self._thread.join(timeout)
        in_time = not self._thread.is_alive()
        while self._thread.is_alive():
            with self._lock:
                if self._child is not None and self._child.poll() is None:
                    process.kill_group(self._child.pid)
            self._thread.join(_LOOK_AGAIN_S)
        return in_time

    def failure(self) -> str:
        """One paragraph on why it failed: exit code and the tail of its log."""
        log = self.program.log
        return f"{self.program.key} failed ({self.status.detail}); {log} ends:\n{log_tail(log)}"

    def _set(self, state: State, **changes: Any) -> None:
        with self._lock:
            before = self._status
            since = before.since if state is before.state else time.time()
            self._status = replace(before, state=state, since=since, **changes)
            differs = self._status != before
        if differs:
            self._changed()
