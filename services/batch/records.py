"""What is kept of each job: a folder with its record, its uploaded file, its output. The record is durable."""

import re
import shutil
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from headrace.batch.job import Job, Kind
from headrace.batch.writing.files import remove, synced
from headrace.runtime.files import sync_folder
from headrace.runtime.logging import get_logger

log = get_logger("headrace.batch")

_ID = re.compile(r"[0-9a-f]{32}")
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
    """A job, as the service knows it. Times are µs since the epoch, 0 for not yet.

    `total` and `done` count rows (lines, of text files), `bad` those that were rejected; `version` and `checkpoint`
    name the weights, once they are settled; `key` and `request` are the Idempotency-Key and the digest of its request.
    """

    id: str
    job: Job
    output: Kind
    state: State = State.WAITING
    key: str = ""
    request: str = ""
    submitted_us: int
    started_us: int = 0
    finished_us: int = 0
    total: int = 0
    done: int = 0
    bad: int = 0
    version: int = 0
    checkpoint: str = ""
    error: str = ""
    cancelling: bool = False

    def shown(self) -> dict[str, Any]:
        """For callers: without paths of this host."""
        return {
            "id": self.id,
            "state": "cancelling" if self.cancelling and not self.state.over else str(self.state),
            "output": self.output,
            "submitted_us": self.submitted_us,
            "started_us": self.started_us or None,
            "finished_us": self.finished_us or None,
            "rows": {"total": self.total, "done": self.done, "rejected": self.bad},
            "version": self.version,
            "checkpoint": self.checkpoint,
            "error": self.error,
        }


class Folder:
    """The folder of all jobs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def new_id() -> str:
        """An id for a new job."""
        return uuid.uuid4().hex

    @staticmethod
    def is_id(text: str) -> bool:
        """Whether it may be a job's id: anything else must not become a path."""
        return _ID.fullmatch(text) is not None

    def of(self, job: str) -> Path:
        """A job's folder."""
        return self.root / job

    def begin(self, job: str) -> Path:
        """Make a job's folder, for its upload; without a record it is no job."""
        folder = self.of(job)
        folder.mkdir()
        sync_folder(self.root)
        return folder

    def save(self, record: Record) -> None:
        """Write the record, durable when this returns."""
        with synced(self.of(record.id) / _RECORD) as file:
            file.write(msgspec.json.encode(record))

    def save_job(self, record: Record) -> Path:
        """Write the job's own file, for the process that does it; where it is."""
        path = self.of(record.id) / JOB
        with synced(path) as file:
            file.write(msgspec.json.encode(record.job))
        return path

    def load(self) -> list[Record]:
        """All jobs, the oldest first. Folders without a record are removed: their submission never ended."""
        found = []
        for folder in self.root.iterdir():
            try:
                found.append(msgspec.json.decode((folder / _RECORD).read_bytes(), type=Record))
            except FileNotFoundError:
                shutil.rmtree(folder, ignore_errors=True)
            except msgspec.DecodeError as error:
                log.warning("a job's record cannot be read and is left alone", folder=str(folder), error=str(error))
        return sorted(found, key=lambda record: record.submitted_us)

    def remove(self, job: str) -> None:
        """Remove a job with its files."""
        remove(self.of(job))
