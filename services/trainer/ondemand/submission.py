"""From a request's JSON to a training job."""

import hashlib
import time
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from headrace.jobs.errors import BadRequestError, ForbiddenError
from headrace.jobs.records import Folder
from headrace.replay.text import FileFormat
from headrace.tracking.store import address
from headrace.training.job import TrainingJob
from services.trainer.ondemand.records import TrainingRecord
from services.trainer.ondemand.settings import TrainSettings


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may be asked for: see `headrace.training.job.TrainingJob`. Files are named within the service's folder."""

    data: Literal["topic", "files", "source", "datasets"] = "topic"
    model: str = ""
    events: str = ""
    labels: str = ""
    datasets: list[str] = []
    time_field: str = ""
    delimiter: str | None = None
    encoding: str | None = None
    options: list[str] = []
    start: str = "earliest"
    end: str = "latest"
    limit: int | None = None
    epochs: int = 1
    validation: float = 0.1
    test: float = 0.1
    patience: int = 0
    settings: dict[str, Any] = {}
    hand_over: bool = False


T = TypeVar("T")


def decoded(body: bytes, kind: type[T]) -> T:
    """A request's body.

    Raises:
        BadRequestError: it is not of this form.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequestError(str(error)) from None


def digest_of(asked: Any) -> str:
    """By which the same request is known again."""
    return hashlib.blake2b(msgspec.json.encode(asked), digest_size=16).hexdigest()


def now_us() -> int:
    """µs since the epoch."""
    return time.time_ns() // 1000


class Submission:
    """Makes records of requests for one pipeline."""

    def __init__(self, settings: TrainSettings, pipeline: Path, folder: Folder[TrainingRecord]) -> None:
        self._settings, self._pipeline, self._folder = settings, pipeline, folder
        self._track = address(settings.track, settings.storage_folder / "tracking") if settings.track else ""

    def new(self, body: bytes, key: str) -> TrainingRecord:
        """A record for a request.

        Raises:
            BadRequestError: it is not of this form.
            ForbiddenError: it names files outside of the folder that jobs may read.
            ConfigError: what it asks for cannot be done.
        """
        asked = decoded(body, Request)
        job_id = self._folder.new_id()
        job = self.job(asked, self._folder.of(job_id).resolve())
        return TrainingRecord(id=job_id, job=job, key=key, request=digest_of(asked), submitted_us=now_us())

    def job(self, asked: Request, folder: Path) -> TrainingJob:
        """What is asked for, with its results in `folder`.

        Raises: as `new`.
        """
        same = ("data", "model", "time_field", "options", "start", "end", "limit", "epochs", "validation", "test")
        return TrainingJob(
            pipeline=str(self._pipeline.resolve()),
            folder=str(folder),
            events=self._file(asked.events),
            labels=self._file(asked.labels),
            datasets=self._sets(asked.datasets),
            form=FileFormat.of(asked.delimiter, asked.encoding),
            patience=asked.patience,
            settings=asked.settings,
            hand_over=asked.hand_over,
            track=self._track,
            max_examples=self._settings.max_examples,
            **{name: getattr(asked, name) for name in same},
        )

    def _sets(self, names: list[str]) -> list[str]:
        """The exact versions: a job that goes on later trains on the same."""
        if not names:
            return []
        from headrace.datasets.opening import open_catalogue

        catalogue = open_catalogue(self._settings)
        return [catalogue.manifest(name).set for name in names]

    def _file(self, name: str) -> str:
        if not name:
            return ""
        root = self._settings.input_dir
        if root is None:
            raise ForbiddenError("this service reads no files (--input-dir allows a folder)")
        path = (root / name).resolve() if "\0" not in name else root.parent
        if not path.is_relative_to(root.resolve()):
            raise ForbiddenError(f"{name!r}: outside of the folder that jobs may read")
        try:
            found = path.is_file()
        except OSError as error:
            raise BadRequestError(f"{name[:100]!r}: {error.strerror}") from None
        if not found:
            raise BadRequestError(f"{name!r}: no such file")
        return str(path)
