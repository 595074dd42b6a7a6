"""How the kernel shares cores among threads: serving ones are to run when they wake, background ones when there is room."""

import ctypes
import os
import platform
import struct
import threading

_SHORT_SLICE_NS = 100_000  # the shortest that the kernel takes
_KEEP_POLICY = 0x08
_SCHED_ATTR = struct.Struct("<IIQiIQQQII")
"""struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call's numbers; libc has no function for it."""


def wake_quickly() -> bool:
    """Ask the kernel to let this thread, and threads that it starts from now on, run soon after they wake.

    Linux gives a thread the core for a slice at a time, some milliseconds on a busy machine. One that asks for a short
    slice gets no larger share, but its turns come sooner: since Linux 6.12 it takes the core from a thread with a longer
    slice as soon as it wakes. It needs no privilege. Older kernels and other systems do nothing.

    Returns:
        Whether the kernel took the request.
    """
    return _set_slice(_SHORT_SLICE_NS)


def wake_as_usual() -> bool:
    """Take `wake_quickly` back for this thread: it has inherited it and is in no hurry."""
    return _set_slice(0)


def step_back(nice: int) -> None:
    """Let this thread, and threads that it starts from now on, have less of busy cores than normal ones.

    Linux shares cores among a session's or a container's threads by this; among containers by their own shares.

    Args:
        nice: 0 to 19. With 10 a thread gets a tenth of what a normal one beside it gets, and all of an idle core.
    """
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))


def _set_slice(nanoseconds: int) -> bool:
    number = _SCHED_SETATTR.get(platform.machine())
    if platform.system() != "Linux" or number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, _KEEP_POLICY, nice, 0, nanoseconds, 0, 0, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
