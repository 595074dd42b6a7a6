"""A transactional id that a process keeps over its restarts, however it ended.

A process takes the first free slot of its group on its host: the lock of a file, which the kernel frees with the
process. Its successor takes the same slot, so the same transactional id, and so aborts at once the transaction that was
left open; without that, readers of committed records would wait for the transaction's timeout.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from headrace.runtime.errors import ConfigError

_MOST = 1024


class InstanceSlot:
    """A held slot. Keep it for as long as the process lives."""

    def __init__(self, number: int, file: IO[bytes]) -> None:
        self.number = number
        self._file = file

    def release(self) -> None:
        """Free it for another process."""
        self._file.close()


def take_slot(folder: Path, group: str) -> InstanceSlot:
    """The lowest slot of `group` that no living process on this host holds.

    Raises:
        ConfigError: the folder cannot be written, or every slot is taken.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(_MOST):
            file = (folder / f"{group}.{number}.lock").open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                os.set_inheritable(file.fileno(), False)  # noqa: FBT003 - the standard library's signature
                return InstanceSlot(number, file)
    except OSError as error:
        raise ConfigError(
            f"slots of {group!r} in {folder}: {error}", hint="--run-dir names a folder that can be written"
        ) from error
    raise ConfigError(f"all {_MOST} slots of {group!r} in {folder} are taken")


def transactional_id(group: str, slot: InstanceSlot) -> str:
    """The transactional id of a slot on this host."""
    return f"{group}.{socket.gethostname()}.{slot.number}"
