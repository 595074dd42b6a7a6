"""From a request's JSON to a training job."""

import hashlib
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.jobs.errors import BadRequestError
from headrace.jobs.files import allowed_file
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
        try:
            asked = msgspec.json.decode(body or b"{}", type=Request)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BadRequestError(str(error)) from None
        job_id = self._folder.new_id()
        same = ("data", "model", "time_field", "options", "start", "end", "limit", "epochs", "validation", "test")
        job = TrainingJob(
            pipeline=str(self._pipeline.resolve()),
            folder=str(self._folder.of(job_id).resolve()),
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
        digest = hashlib.blake2b(msgspec.json.encode(asked), digest_size=16).hexdigest()
        return TrainingRecord(id=job_id, job=job, key=key, request=digest, submitted_us=time.time_ns() // 1000)

    def _sets(self, names: list[str]) -> list[str]:
        """The exact versions: a job that goes on later trains on the same."""
        if not names:
            return []
        from headrace.datasets.opening import open_catalogue

        catalogue = open_catalogue(self._settings)
        return [catalogue.manifest(name).set for name in names]

    def _file(self, name: str) -> str:
        return allowed_file(self._settings.input_dir, name) if name else ""
