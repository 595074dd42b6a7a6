"""Tracebacks of a size that a person reads, without values of variables, and reports of uncaught exceptions.

`render` shows the frames of Headrace, of the pipeline's author and the frame that raised, and counts the frames of
libraries. `report_all` reports every uncaught exception in this form: of the main thread, of other threads, and where
Python can only ignore one (in `__del__`, at exit).
"""

import linecache
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from itertools import groupby
from types import FrameType, TracebackType

from headrace.runtime.secrets import clean

MOST_LINES = 30
MOST_ERRORS = 3
"""Exceptions of a chain that are shown: the first one, which is the cause of all, and the last ones."""
MESSAGE_LINES, MESSAGE_WIDTH = 4, 300

_STANDARD = ("<frozen", sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
_INSTALLED = ("/site-packages/", "/dist-packages/")
_OURS = ("headrace", "services")

Report = Callable[[str, BaseException], None]
"""Takes a few words about what happened, and the exception."""


def render(error: BaseException, most_lines: int = MOST_LINES) -> str:
    """The traceback of an exception and of its causes, the first cause first, in `most_lines` at most."""
    chain = list(_chain(error))
    left_out = max(0, len(chain) - MOST_ERRORS)
    shown = [*chain[:1], *chain[1 + left_out :]] if left_out else chain
    messages = [_message(one) for one, _ in shown]
    links = 2 * (len(shown) - 1)  # an empty line and how the next exception follows
    for_frames = (most_lines - links - sum(map(len, messages))) // len(shown)
    lines: list[str] = []
    for place, ((one, link), message) in enumerate(zip(shown, messages, strict=True)):
        if place:
            lines += ["", f"{left_out} exceptions are left out. {link}:" if left_out and place == 1 else f"{link}:"]
        lines += [*_frames(one.__traceback__, for_frames), *message]
    return "\n".join(lines)


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The exceptions from the first cause to `error` itself, each with how it follows from the one before."""
    chain: list[tuple[BaseException, str]] = []
    one: BaseException | None = error
    while one is not None and all(one is not known for known, _ in chain):
        cause, link = _cause(one)
        chain.append((one, link))
        one = cause
    return reversed(chain)


def _cause(error: BaseException) -> tuple[BaseException | None, str]:
    """The exception that this one came from, and in words how. That of a group is the first exception in it."""
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0], f"The above exception is the first of a group of {len(error.exceptions)}"
    if error.__cause__ is not None:
        return error.__cause__, "The above exception was the direct cause of the following exception"
    context = None if error.__suppress_context__ else error.__context__
    return context, "During handling of the above exception, another exception occurred"


def _message(error: BaseException) -> list[str]:
    """The lines of the exception itself. Secrets are masked first: part of a secret would not be recognized."""
    text = clean("".join(traceback.format_exception_only(error)).rstrip("\n"))
    lines = text.split("\n")
    cut = [
        line if len(line) <= MESSAGE_WIDTH else f"{line[:MESSAGE_WIDTH]}... ({len(line)} characters)" for line in lines
    ]
    if len(cut) <= MESSAGE_LINES:
        return cut
    return [*cut[: MESSAGE_LINES - 2], f"... {len(cut) - MESSAGE_LINES + 1} lines ...", cut[-1]]


def _frames(trace: TracebackType | None, most_lines: int) -> list[str]:
    """The frames, outermost first: of Headrace's and the author's the innermost ones that fit, and the last one."""
    walked = list(traceback.walk_tb(trace))
    if not walked:
        return []
    kept = [i for i, (frame, _) in enumerate(walked) if not _library(frame) or i == len(walked) - 1]
    kept = kept[-most_lines:]
    while len(lines := _with_counts(walked, set(kept))) > most_lines and len(kept) > 1:
        del kept[0]
    return lines


def _with_counts(walked: list[tuple[FrameType, int]], kept: set[int]) -> list[str]:
    """The frames that are kept, and between them how many are not."""
    lines = ["Traceback (most recent call last):"]
    for is_kept, group in groupby(range(len(walked)), key=kept.__contains__):
        members = [walked[i] for i in group]
        if is_kept:
            lines += [line for frame, number in members for line in _frame(frame, number)]
        else:
            lines.append(f"  ... {len(members)} more: {', '.join(_packages(frame for frame, _ in members))}")
    return lines


def _library(frame: FrameType) -> bool:
    file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
    if module.partition(".")[0] in _OURS:  # an installed Headrace is in the folder of the libraries
        return False
    return file.startswith(_STANDARD) or file.endswith(".pyx") or any(folder in file for folder in _INSTALLED)


def _packages(frames: Iterator[FrameType]) -> list[str]:
    """The packages of frames, each once, in their order; for Headrace's own frames, the modules."""
    names = (str(frame.f_globals.get("__name__", "?")) for frame in frames)
    return list(dict.fromkeys(name if name.startswith(_OURS) else name.partition(".")[0] for name in names))[:5]


def _frame(frame: FrameType, line: int) -> list[str]:
    file = frame.f_code.co_filename
    source = linecache.getline(file, line, frame.f_globals).strip()[:160]
    return [f'  File "{file}", line {line}, in {frame.f_code.co_name}', *([f"    {clean(source)}"] if source else [])]


def to_stderr(what: str, error: BaseException) -> None:
    """Write a report to standard error, in a process without logs."""
    sys.stderr.write(f"headrace: {what}\n{render(error)}\n")


def report_all(report: Report = to_stderr) -> None:
    """Call `report` with every uncaught exception from now on."""

    def in_main(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
        report("crashed", error)

    def in_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None and not isinstance(found.exc_value, SystemExit):
            name = found.thread.name if found.thread is not None else "?"
            report(f"thread {name!r} ended with an exception", found.exc_value)

    def nowhere(found: "sys.UnraisableHookArgs") -> None:
        if found.exc_value is not None:
            where = getattr(found.object, "__qualname__", type(found.object).__name__)
            report(f"{found.err_msg or 'an exception was ignored in'} {where}", found.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = in_main, in_thread, nowhere
