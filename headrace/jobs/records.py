"""What is kept of each job: a folder with its record, its uploaded file, its results. The record is durable."""

import shutil
import uuid
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from headrace.runtime.files import remove, sync_folder, synced
from headrace.runtime.logging import get_logger

log = get_logger("headrace.jobs")

_RECORD, JOB = "record.json", "job.json"


class State(StrEnum):
    """Where in its life a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


class Record(msgspec.Struct, kw_only=True):
    """A job, as its service knows it. A service's own record adds what its jobs are and how far they are.

    Times are µs since the epoch, 0 for not yet. `job` is what its process is given; `key` and `request` are the
    Idempotency-Key and the digest of its request.
    """

    id: str
    job: Any
    state: State = State.WAITING
    key: str = ""
    request: str = ""
    submitted_us: int
    started_us: int = 0
    finished_us: int = 0
    error: str = ""
    cancelling: bool = False

    def shown(self) -> dict[str, Any]:
        """For callers: without paths of this host."""
        return {
            "id": self.id,
            "state": "cancelling" if self.cancelling and not self.state.over else str(self.state),
            "submitted_us": self.submitted_us,
            "started_us": self.started_us or None,
            "finished_us": self.finished_us or None,
            **self.progress(),
            "error": self.error,
        }

    def progress(self) -> dict[str, Any]:
        """What `shown` says of the job itself."""
        return {}

    def heard(self, line: Mapping[str, Any]) -> None:
        """Take what the job's process says on the way."""

    def succeeded(self, summary: Mapping[str, Any]) -> None:
        """Take what it said at its end."""

    def abandoned(self) -> None:
        """Throw away what the job has done: it was cancelled, or has failed."""


R = TypeVar("R", bound=Record)


class Folder(Generic[R]):
    """The folder of all jobs, whose records are of the type `kind`."""

    def __init__(self, root: Path, kind: type[R]) -> None:
        self.root, self._kind = root, kind
        root.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def new_id() -> str:
        """An id for a new job."""
        return uuid.uuid4().hex

    def of(self, job: str) -> Path:
        """A job's folder."""
        return self.root / job

    def begin(self, job: str) -> Path:
        """Make a job's folder, for its upload; without a record it is no job."""
        folder = self.of(job)
        folder.mkdir()
        sync_folder(self.root)
        return folder

    def save(self, record: R) -> None:
        """Write the record, durable when this returns."""
        with synced(self.of(record.id) / _RECORD) as file:
            file.write(msgspec.json.encode(record))

    def save_job(self, record: R) -> Path:
        """Write the job's own file, for the process that does it; where it is."""
        path = self.of(record.id) / JOB
        with synced(path) as file:
            file.write(msgspec.json.encode(record.job))
        return path

    def load(self) -> list[R]:
        """All jobs, the oldest first. Folders without a record are removed: their submission never ended."""
        found: list[R] = []
        for folder in self.root.iterdir():
            try:
                found.append(msgspec.json.decode((folder / _RECORD).read_bytes(), type=self._kind))
            except FileNotFoundError:
                shutil.rmtree(folder, ignore_errors=True)
            except msgspec.DecodeError as error:
                log.warning("a job's record cannot be read and is left alone", folder=str(folder), error=str(error))
        return sorted(found, key=lambda record: record.submitted_us)

    def remove(self, job: str) -> None:
        """Remove a job with its files."""
        remove(self.of(job))
