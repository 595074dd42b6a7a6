"""The inside of a job's process: `python -m MODULE JOB_FILE`, started by `headrace.jobs.process`.

It says what it does as JSON lines on standard output: progress, `summary` at the end, `error`. It stops on SIGTERM, and
dies when its standard input closes, as it does when the service that started it dies.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.runtime import crashes, logging, secrets
from headrace.runtime.errors import ExitCode, HeadraceError

STOPPED = 130
"""The exit code of a job that was asked to stop."""


class Stopped(HeadraceError):  # noqa: N818 - nothing is wrong
    """The job was asked to stop; the same command goes on where it was."""


class Answers:
    """Says lines on standard output, which nothing else in this process can write to from now on."""

    def __init__(self) -> None:
        self._answers = os.dup(1)
        os.dup2(2, 1)  # what a model prints is no answer

    def say(self, **what: Any) -> None:
        """One line."""
        os.write(self._answers, msgspec.json.encode(what) + b"\n")


def guard() -> None:
    """Let nothing that this process prints hold a secret, whatever raises and in whichever thread."""
    secrets.learn_process([])
    secrets.guard_stderr()
    crashes.report_all()


def run_child(work: Callable[[Answers, threading.Event], dict[str, Any]]) -> int:
    """Do a job's work, which returns its summary, and raises `Stopped` where the event stopped it; the exit code."""
    guard()
    answers, stop = Answers(), threading.Event()
    logging.configure("warning")
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        summary = work(answers, stop)
    except Stopped:
        return STOPPED
    except HeadraceError as error:
        answers.say(error=secrets.clean(str(error)))
        return int(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the edge of the process
        crashes.to_stderr("crashed", error)
        answers.say(error=f"internal error: {type(error).__name__}")
        return int(ExitCode.INTERNAL)
    answers.say(summary=summary)
    return int(ExitCode.OK)


def _die_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(int(ExitCode.INTERNAL))
