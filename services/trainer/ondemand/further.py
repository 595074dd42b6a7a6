"""What the role `train` does beside training: studies, comparisons with the version that serves, and publishing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.jobs.errors import ConflictError
from headrace.jobs.manager import Jobs
from headrace.jobs.records import Folder, Record, State
from headrace.jobs.rest import Submission as Submitted
from headrace.training.after import EvaluationJob, HandOverJob
from headrace.training.job import TrainingJob
from headrace.training.study import Axis, StudyJob
from services.trainer.ondemand.bodies import EVALUATION_BODY, HAND_OVER_BODY, STUDY_BODY
from services.trainer.ondemand.records import TrainingRecord
from services.trainer.ondemand.submission import Request, Submission, decoded, digest_of, now_us


class ReportedRecord(Record, kw_only=True):
    """A job that comes to a report. `heard_so_far` is what its process last said of how far it is."""

    heard_so_far: dict[str, Any] = msgspec.field(default_factory=dict)
    report: dict[str, Any] | None = None

    def progress(self) -> dict[str, Any]:
        """See `Record.progress`."""
        return {**self.heard_so_far, "report": self.report}

    def heard(self, line: Mapping[str, Any]) -> None:
        """See `Record.heard`."""
        self.heard_so_far = {n: v for n, v in line.items() if n not in ("summary", "error")} or self.heard_so_far

    def succeeded(self, summary: Mapping[str, Any]) -> None:
        """See `Record.succeeded`. Paths of this host stay here."""
        self.report = {name: value for name, value in summary.items() if name != "plots"}


class StudyRecord(ReportedRecord, kw_only=True):
    """A study of hyperparameters."""

    job: StudyJob


class EvaluationRecord(ReportedRecord, kw_only=True):
    """A comparison with the version that serves."""

    job: EvaluationJob


class HandOverRecord(ReportedRecord, kw_only=True):
    """Publishing a training job's weights."""

    job: HandOverJob


class StudyRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """See `headrace.training.study.StudyJob`."""

    training: Request = msgspec.field(default_factory=lambda: Request(epochs=3, validation=0.2))
    space: list[str]
    trials: int = 20
    workers: int = 1
    prune: bool = True
    seed: int = 0


class EvaluationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """See `headrace.training.after.EvaluationJob`; `job` is a training job's id."""

    job: str
    on: Request | None = None
    last: int = 0


class HandOverRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """See `headrace.training.after.HandOverJob`; `job` is a training job's id."""

    job: str
    model: str | None = None
    held: bool = False


class Studies:
    """Makes records of requests for studies."""

    def __init__(self, training: Submission, _: Jobs[TrainingRecord], folder: Folder[StudyRecord]) -> None:
        self._training, self._folder = training, folder

    def new(self, body: bytes, key: str) -> StudyRecord:
        """See `headrace.jobs.rest.Submission`."""
        asked, study = decoded(body, StudyRequest), self._folder.new_id()
        training = self._training.job(asked.training, self._folder.of(study).resolve())
        job = StudyJob(
            training=training, space=tuple(map(Axis.of, asked.space)),
            trials=asked.trials, workers=asked.workers, prune=asked.prune, seed=asked.seed,
        )  # fmt: skip
        return StudyRecord(id=study, job=job, key=key, request=digest_of(asked), submitted_us=now_us())


class Evaluations:
    """Makes records of requests for comparisons."""

    def __init__(self, training: Submission, trained: Jobs[TrainingRecord], folder: Folder[EvaluationRecord]) -> None:
        self._training, self._trained, self._folder = training, trained, folder

    def new(self, body: bytes, key: str) -> EvaluationRecord:
        """See `headrace.jobs.rest.Submission`."""
        asked, evaluation = decoded(body, EvaluationRequest), self._folder.new_id()
        own = self._folder.of(evaluation).resolve()
        on = None if asked.on is None else self._training.job(asked.on, own)
        job = EvaluationJob(folder=str(own), trained=_done(self._trained, asked.job), on=on, last=asked.last)
        return EvaluationRecord(id=evaluation, job=job, key=key, request=digest_of(asked), submitted_us=now_us())


class HandOvers:
    """Makes records of requests to publish."""

    def __init__(self, _: Submission, trained: Jobs[TrainingRecord], folder: Folder[HandOverRecord]) -> None:
        self._trained, self._folder = trained, folder

    def new(self, body: bytes, key: str) -> HandOverRecord:
        """See `headrace.jobs.rest.Submission`."""
        asked, handing = decoded(body, HandOverRequest), self._folder.new_id()
        job = HandOverJob(
            folder=str(self._folder.of(handing).resolve()), trained=_done(self._trained, asked.job),
            model=asked.model, held=asked.held,
        )  # fmt: skip
        return HandOverRecord(id=handing, job=job, key=key, request=digest_of(asked), submitted_us=now_us())


def _done(trained: Jobs[TrainingRecord], job: str) -> TrainingJob:
    """A training job that is done.

    Raises:
        UnknownError: there is none of this id.
        ConflictError: it is not done.
    """
    record = trained.get(job)
    if record.state is not State.DONE:
        raise ConflictError(f"the training job is {record.state}")
    return record.job


@dataclass(frozen=True)
class Kind:
    """A kind of job: its name in paths and folders, what runs it, its record, and what makes records of requests."""

    name: str
    module: str
    record: type[Any]
    submission: Any
    summary: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Further:
    """A kind with its jobs."""

    kind: Kind
    jobs: Jobs[Any]
    submission: Submitted


KINDS = (
    Kind(
        "studies", "services.trainer.offline.study", StudyRecord, Studies,
        "Search for better training settings", STUDY_BODY,
    ),
    Kind(
        "evaluations", "services.trainer.after.evaluation", EvaluationRecord, Evaluations,
        "Compare what a training job made with the version that serves", EVALUATION_BODY,
    ),
    Kind(
        "hand-overs", "services.trainer.after.hand_over", HandOverRecord, HandOvers,
        "Publish what a training job made as a version", HAND_OVER_BODY,
    ),
)  # fmt: skip
