"""What a thread asks of the kernel holds for itself and for threads that it starts; a refusal raises nothing."""

import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headrace.runtime import scheduling
from tests.patience import WAIT_S

LINUX = pytest.mark.skipif(platform.system() != "Linux", reason="priorities of threads are Linux's")


def in_a_thread(work) -> None:
    errors = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed on
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@LINUX
def test_short_slices_change_no_priority():
    """Nor does taking them back."""

    def ask() -> None:
        before = nice()
        taken = scheduling.wake_quickly()
        assert scheduling.wake_as_usual() == taken
        assert nice() == before

    in_a_thread(ask)


def test_a_machine_that_the_call_is_not_known_for_is_left_alone(monkeypatch):
    """And the caller is told."""
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    assert not scheduling.wake_quickly()


@LINUX
def test_stepping_back_is_for_a_thread_and_those_that_it_starts():
    """No other thread has less, and one that had less already keeps what it has."""

    def back() -> None:
        before = nice()
        scheduling.lower_priority(12)
        assert nice() == max(12, before)
        in_a_thread(lambda: seen.append(nice()))
        scheduling.lower_priority(3)
        assert nice() == max(12, before)

    seen: list[int] = []
    own = nice()
    in_a_thread(back)
    assert seen == [max(12, own)]
    assert nice() == own


@LINUX
@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not group sessions")
def test_a_process_that_leads_its_session_steps_back_with_the_session():
    """Threads' priorities alone say nothing to other sessions; nobody else's session is touched."""
    code = (
        "from headrace.runtime.scheduling import lower_priority; from pathlib import Path; lower_priority(7);"
        "print(Path('/proc/self/autogroup').read_text())"
    )

    def group_of(**how) -> list[str]:
        """Its name and nice value; nothing where the session was started before the kernel grouped sessions."""
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=WAIT_S, **how
        )
        return done.stdout.split()

    assert group_of(start_new_session=True)[-1] == "7"
    assert group_of() == Path("/proc/self/autogroup").read_text().split()


def test_coming_first_is_for_those_who_may(monkeypatch):
    """The thread has the real-time policy if the kernel says so, and goes on as it was if not."""

    def ask() -> None:
        if scheduling.use_realtime():
            assert os.sched_getscheduler(0) == os.SCHED_RR
        else:
            assert os.sched_getscheduler(0) == os.SCHED_OTHER

    if hasattr(os, "sched_getscheduler"):
        in_a_thread(ask)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse, raising=False)
    assert not scheduling.use_realtime()


@LINUX
def test_a_thread_of_one_that_comes_first_may_be_in_no_hurry():
    """It gives up what it has inherited, and the thread that started it keeps it."""

    def ask() -> None:
        first = scheduling.use_realtime()
        in_a_thread(lambda: (scheduling.wake_as_usual(), seen.append(os.sched_getscheduler(0))))
        assert seen == [os.SCHED_OTHER]
        assert os.sched_getscheduler(0) == (os.SCHED_RR if first else os.SCHED_OTHER)

    seen: list[int] = []
    in_a_thread(ask)
