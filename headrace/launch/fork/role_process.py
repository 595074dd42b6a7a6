"""What a forked process does before it runs its role, so that it equals one started as `python -m <module> <args>`."""

import atexit
import ctypes
import os
import random
import runpy
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from headrace.launch.fork.messages import Start
from headrace.platform.parent_death import die_with_parent

PR_SET_NAME = 15
_ARGUMENTS_START = 47  # fields of /proc/<pid>/stat, counted from 0
_ARGUMENTS_END = 48


@dataclass(frozen=True)
class TitleSpace:
    """The memory that `ps` shows as a process's command line: where it begins, and its size in bytes."""

    address: int
    size: int


def title_space() -> TitleSpace | None:
    """This process's; None where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    start, end = (int(fields[n - 2]) for n in (_ARGUMENTS_START, _ARGUMENTS_END))
    return TitleSpace(start, end - start) if end > start > 0 else None


def run(wanted: Start, supervisor: int, title: TitleSpace | None) -> NoReturn:
    """Become the role, run it to its end, and exit with its code; with 1 if the supervisor has died meanwhile."""
    os.setsid()  # 1. out of reach of the terminal and of the fork server's signals
    if not die_with_parent(supervisor):
        os._exit(1)
    _redirect(Path(wanted.log))  # 2. output, environment and name as of a process of its own
    os.environ.clear()
    os.environ.update(wanted.env)
    time.tzset()
    set_title(wanted.module, wanted.args, wanted.env.get("HEADRACE_INSTANCE", wanted.module), title)
    _reseed()  # 3. no random number that another role draws too
    _exit(_run_module(wanted.module, wanted.args))


def _redirect(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def set_title(module: str, args: tuple[str, ...], name: str, space: TitleSpace | None) -> None:
    """Let `ps` show `python -m <module> <args>`, and `top` the name."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    if space is not None:
        words = [sys.executable, "-m", module, *args]
        text = b" ".join(os.fsencode(word) for word in words)[: space.size - 2]
        # a last byte that is not 0 tells Linux that this is one text up to the first 0, not a list of arguments
        ctypes.memmove(space.address, text.ljust(space.size - 1, b"\0") + b".", space.size)


def _reseed() -> None:
    """Seed Python's and numpy's generators anew, as an interpreter does; torch's has the same seed in each process."""
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _run_module(module: str, args: tuple[str, ...]) -> int:
    sys.argv = [module, *args]
    sys.orig_argv = [sys.executable, "-m", module, *args]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return _exit_code(end.code)
    except BaseException as error:  # noqa: BLE001 - the edge of the process: what the interpreter does with it
        beyond = error.__traceback__.tb_next if error.__traceback__ is not None else None  # without this very frame
        sys.excepthook(type(error), error.with_traceback(beyond), beyond)
        return 1
    return 0


def _exit_code(code: object) -> int:
    """As the interpreter reads what was given to `sys.exit`."""
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _exit(code: int) -> NoReturn:
    """End as the interpreter does, but without freeing objects, which would first copy the pages that are shared."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - waits for threads that are not daemons
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name for it
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
