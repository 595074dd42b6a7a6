"""What a thread asks of the kernel is for itself and those that it starts, and is refused quietly where it cannot be had."""

import os
import platform
import subprocess
import sys
import threading

import pytest

from headrace.runtime import scheduling

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
def test_stepping_back_is_for_all_threads_there_are_and_will_be():
    """And is never taken back: a process that was started with less keeps less."""
    script = """
import os, threading
from headrace.runtime.scheduling import step_back
def nice(): return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
seen, go_on = [], threading.Event()
early = threading.Thread(target=lambda: (go_on.wait(), seen.append(nice())))
early.start()
step_back(12)
go_on.set()
late = threading.Thread(target=lambda: seen.append(nice()))
late.start()
early.join(), late.join()
step_back(3)
print([*seen, nice()])
"""
    done = subprocess.run(["nice", "-n", "0", sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[12, 12, 12]"
