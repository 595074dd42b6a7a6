"""How the kernel shares cores among threads: serving threads run as soon as they wake, background threads get less."""

import ctypes
import os
import platform
import struct
import threading
import time
from pathlib import Path

_SHORT_SLICE_NS = 100_000  # the shortest that the kernel takes
_KEEP_POLICY = 0x08
_SCHED_ATTR = struct.Struct("<IIQiIQQQII")
"""struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call's numbers; libc has no function for it."""
_AUTOGROUP = Path("/proc/self/autogroup")
_AUTOGROUP_TRIES, _AUTOGROUP_PAUSE_S = 5, 0.12  # the kernel lets users change one autogroup in 0.1 s


def wake_quickly() -> bool:
    """Ask the kernel to let this thread, and threads that it starts from now on, run soon after they wake.

    Linux gives a thread the core for a slice at a time, some milliseconds on a busy machine. A thread that asks for a
    short slice gets no larger share of the core, but its turns come sooner: since Linux 6.12 it preempts a thread with
    a longer slice as soon as it wakes. This needs no privilege. On older kernels and other systems nothing happens.

    Returns:
        Whether the kernel took the request.
    """
    return _set_slice(_SHORT_SLICE_NS)


def wake_as_usual() -> bool:
    """Undo `wake_quickly` and `use_realtime` for this thread, which has inherited them and does background work."""
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) == os.SCHED_RR:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return _set_slice(0)


def lower_priority(nice: int) -> None:
    """Give this thread, and threads that it starts from now on, a smaller share of busy cores than normal threads have.

    The nice value counts among the threads of one session or container. Sessions share the cores equally whatever
    their threads' nice values are, so if this process leads a session, the session's own value is changed too.
    Containers have shares of their own.

    Args:
        nice: 0 to 19. With 10 a thread gets a tenth of what a normal thread beside it gets, and all of an idle core.
    """
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))
    if os.getsid(0) == os.getpid() and _AUTOGROUP.exists():
        _lower_session(nice)


def _lower_session(nice: int) -> None:
    for _ in range(_AUTOGROUP_TRIES):
        try:
            _AUTOGROUP.write_text(str(nice))
        except BlockingIOError:  # the kernel lets users change one session at a time
            time.sleep(_AUTOGROUP_PAUSE_S)
        except OSError:  # this kernel does not group threads by session
            return
        else:
            return


def use_realtime() -> bool:
    """Let this thread, and threads that it starts from now on, run before all normal threads of the machine.

    This is the real-time policy SCHED_RR at its lowest priority. The kernel keeps a twentieth of each core for normal
    threads.

    Returns:
        False if the process has no permission (it needs CAP_SYS_NICE, or a limit RLIMIT_RTPRIO of at least 1), or the
        system has no such policy.
    """
    if not hasattr(os, "sched_setscheduler"):
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False
    return True


def _set_slice(nanoseconds: int) -> bool:
    number = _SCHED_SETATTR.get(platform.machine())
    if platform.system() != "Linux" or number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, _KEEP_POLICY, nice, 0, nanoseconds, 0, 0, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
