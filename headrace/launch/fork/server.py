"""The process that imports what roles need, then forks one for each request on its standard input.

`python -m headrace.launch.fork.server TITLE MODULE...`: TITLE is only there for its length, which `ps` can show later.

A request and its reply are one datagram each (`messages`). The process that runs the role is the supervisor's child,
not the fork server's: a process in between forks it and ends at once, and Linux then gives it to the nearest ancestor
that has asked for orphans, the supervisor. So the supervisor waits for roles itself, as for any child, and they go on
if the fork server dies.

Only a process with a single thread is forked: a lock that another thread held would stay locked in the new process.
"""

import gc
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from headrace.launch.fork import preloaded, role_process
from headrace.launch.fork.messages import GONE_ON, MOST_BYTES, SERVER_MODULE, Start, Started
from headrace.launch.fork.pages import drop_file_pages

_TASKS = Path("/proc/self/task")
_GO = b"1"


def main() -> None:
    """Serve until the supervisor closes its end. Each forked process runs its role instead, and does not return."""
    supervisor = os.getppid()
    title = role_process.title_space()
    role_process.set_title(SERVER_MODULE, (), "fork-server", title)
    control = socket.socket(fileno=os.dup(0))
    gc.disable()  # garbage would leave holes in pages, which forked processes then fill: each with a copy of its own
    prepare(sys.argv[2:])
    if (wanted := serve(control)) is not None:
        control.close()
        gc.enable()
        role_process.run(wanted, supervisor, title)


def prepare(modules: Sequence[str]) -> None:
    """Import modules, and have forked processes share what they hold."""
    preloaded.import_all(modules)
    gc.collect()
    gc.freeze()  # collections in forked processes do not touch, and so do not copy, what is here now
    drop_file_pages()


def serve(control: socket.socket) -> Start | None:
    """Answer requests until the other end closes. Returns None then; in a forked process, what that is to run."""
    decode = msgspec.json.Decoder(Start).decode
    prepared: set[tuple[str, ...]] = {()}
    while request := control.recv(MOST_BYTES):
        wanted = decode(request)
        if wanted.modules not in prepared:
            prepare(wanted.modules)
            prepared.add(wanted.modules)
        try:
            forked = fork_orphan()
        except (OSError, RuntimeError) as error:
            control.send(msgspec.json.encode(Started(error=str(error))))
            continue
        if forked is None:
            return wanted
        # 3. The supervisor learns of the process before that goes on. If this one dies in between, the new one ends:
        #    so no role runs twice.
        control.send(msgspec.json.encode(Started(forked.pid)))
        os.write(forked.gate, _GO)
        os.close(forked.gate)
        control.send(GONE_ON)
    return None


class Forked(NamedTuple):
    """A process that waits: `gate` is the end of a pipe from which it expects `_GO`."""

    pid: int
    gate: int


def fork_orphan() -> Forked | None:
    """Fork a process whose parent is the supervisor. In that process, returns None once it may go on.

    Raises:
        RuntimeError: this process has several threads.
        OSError: the system has no process or memory for it.
    """
    if (threads := len(list(_TASKS.iterdir()))) != 1:
        raise RuntimeError(f"the fork server has {threads} threads: a module that it imports starts one")
    told, tell = os.pipe()
    held, gate = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    between = os.fork()
    if between == 0:
        _fork_again(told, tell, held, gate)
        return None
    for end in (tell, held):
        os.close(end)
    # 1. The process in between says which process it made, and ends.
    said = os.read(told, 32)
    os.close(told)
    # 2. Once it is gone, the new process is the supervisor's child.
    os.waitpid(between, 0)
    if not said.isdigit():
        os.close(gate)
        raise OSError(said.decode() or "the process in between died")
    return Forked(int(said), gate)


def _fork_again(told: int, tell: int, held: int, gate: int) -> None:
    """In the process in between: make the one that is to stay. Returns in that one only."""
    os.setsid()  # neither is in the fork server's group, which is killed when that is stopped
    try:
        pid = os.fork()
    except OSError as error:
        os.write(tell, str(error.strerror).encode()[:32])
        os._exit(1)
    if pid:
        os.write(tell, str(pid).encode())
        os._exit(0)
    for end in (told, tell, gate):
        os.close(end)
    if os.read(held, 1) != _GO:  # the fork server died
        os._exit(1)
    os.close(held)


if __name__ == "__main__":
    main()
