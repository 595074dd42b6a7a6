"""The work folder, beside the output: the plan, the parts, and a journal of the parts that are durable.

One process at a time holds its lock. The journal has a line for each part that is on disk; a line that was being
written when the process died is not counted, and its part is done again.
"""

import fcntl
import os
import time
from pathlib import Path

import msgspec

from headrace.batch.job import PartResult, Plan
from headrace.batch.writing.part import part_file, rejected_file
from headrace.runtime.errors import ConfigError
from headrace.runtime.files import sync_folder, synced

_PLAN, _JOURNAL, _LOCK = "plan.json", "journal.jsonl", "lock"
_LOCK_S = 5.0
_RETRY_S = 0.05
_RESULT = msgspec.json.Decoder(PartResult)


def work_folder(output: Path) -> Path:
    """Where a job that writes `output` keeps its work: on the same file system, so that renaming is atomic."""
    return output.with_name(f".{output.name}.headrace-batch")


class Work:
    """An open, locked work folder; made if there is none.

    Raises:
        ConfigError: another process is at it, or it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = self._take()
        self._journal: int | None = None

    def _take(self) -> int:
        """Take the lock; a process that was just killed may hold it for a moment."""
        deadline = time.monotonic() + _LOCK_S
        while True:
            lock = self._open()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (self.folder / _LOCK).stat().st_ino == os.fstat(lock).st_ino:
                    return lock
            except FileNotFoundError:
                pass  # whoever held it has finished the job and removed the folder
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise ConfigError(
                        f"{self.folder}: another process works at this output", hint="wait for it, or stop it"
                    ) from None
                time.sleep(_RETRY_S)
            os.close(lock)

    def _open(self) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"{self.folder}: {(error.strerror or str(error)).lower()}", hint="--output FILE"
            ) from error

    def plan(self) -> Plan | None:
        """The plan of the work that is here; None where there is none yet.

        Raises:
            ConfigError: it is of another version of Headrace.
        """
        try:
            return read_plan(self.folder)
        except FileNotFoundError:
            return None

    def begin(self, plan: Plan) -> None:
        """Write the plan. From here on the job can be resumed."""
        with synced(self.folder / _PLAN) as file:
            file.write(msgspec.json.encode(plan))
        sync_folder(self.folder.parent)

    def done(self) -> dict[int, PartResult]:
        """The parts that are durable, by index; the journal is open for more afterwards."""
        path = self.folder / _JOURNAL
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        self._journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._journal, len(whole))
        os.lseek(self._journal, 0, os.SEEK_END)
        sync_folder(self.folder)
        results = (_RESULT.decode(line) for line in whole.splitlines())
        return {result.part: result for result in results if self._is_there(result)}

    def _is_there(self, result: PartResult) -> bool:
        files = [(part_file(self.folder, result.part), result.size)]
        if result.bad:
            files.append((rejected_file(self.folder, result.part), result.bad_size))
        return all(path.exists() and path.stat().st_size == size for path, size in files)

    def record(self, result: PartResult) -> None:
        """Add a part whose files are durable to the journal; it is durable when this returns."""
        if self._journal is None:
            raise RuntimeError("the journal is not open: `done` opens it")
        os.write(self._journal, msgspec.json.encode(result) + b"\n")
        os.fdatasync(self._journal)

    def close(self) -> None:
        """Give up the lock; the folder stays."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None
        os.close(self._lock)


def read_plan(folder: Path) -> Plan:
    """The plan in a work folder.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it is of another version of Headrace.
    """
    data = (folder / _PLAN).read_bytes()
    try:
        return msgspec.json.decode(data, type=Plan)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{folder / _PLAN}: of another version of Headrace", hint="--restart begins anew") from error
