"""A training job from its beginning, or from where it was, to its report."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import save

from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.model.spec import TrainingSpec
from headrace.runtime.devices.host import HOST
from headrace.runtime.errors import ConfigError, DependencyError
from headrace.runtime.files import synced
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from headrace.training.job import PartReport, Report, TrainingJob
from headrace.weights.format.chunks import digest_of
from services.trainer.checkpoint import CheckpointFolder
from services.trainer.compiler_check import check_compiler
from services.trainer.offline.examples import Examples, gather
from services.trainer.offline.fitting import Fitted, Fitting, OnEpoch, Tell
from services.trainer.offline.gating import refusal
from services.trainer.offline.handing_over import hand_over
from services.trainer.offline.judging import baseline_errors, finite_mean, task_metrics
from services.trainer.offline.parts import Parts, split
from services.trainer.origin import origin_of

log = get_logger("headrace.trainer")

WEIGHTS, REPORT = "weights.safetensors", "report.json"


class Prepared(NamedTuple):
    """What a job trains on."""

    pipeline: Pipeline
    examples: Examples
    parts: Parts


def prepare(job: TrainingJob, settings: ServiceSettings, check: Callable[[], None]) -> Prepared:
    """Load the pipeline and read the examples; see `run_job`."""
    torch.set_num_threads(1)  # with more, results may depend on their number
    pipeline = with_settings(load_pipeline(job.pipeline).of_model(job.model), job.settings)
    if pipeline.spec.training.compile:
        check_compiler(HOST)
    examples = gather(job, pipeline, settings, check)
    return Prepared(pipeline, examples, split(examples, job.validation, job.test))


def run_job(
    job: TrainingJob,
    settings: ServiceSettings,
    tell: Tell,
    check: Callable[[], None],
    on_epoch: OnEpoch = lambda _: None,
) -> Report:
    """Do a job, or what is left of it; one that is done is returned as it was.

    Args:
        job: what to do.
        settings: where Kafka and storage are, for jobs that need them.
        tell: hears of each batch.
        check: is called now and then; raises to stop the job, which the same call then goes on with.
        on_epoch: hears of each epoch at its end; not of those that an earlier call has finished.

    Raises:
        ConfigError: something asked for is wrong.
        DataError: the examples cannot be learned from.
        WeightsError, DependencyError: storage or Kafka fail, where they are needed.
    """
    started = time.monotonic()
    if (done := _done(job)) is not None:
        return done
    job.path.mkdir(parents=True, exist_ok=True)
    prepared = prepare(job, settings, check)
    fitted, report = fit(job, prepared, tell, check, on_epoch)
    if job.hand_over:
        report = _handed_over(job, prepared, settings, fitted, report, check=check)
    report = msgspec.structs.replace(report, seconds=time.monotonic() - started)
    if job.track:
        report = msgspec.structs.replace(report, run=_tracked(job, prepared.pipeline, report))
    # The report last: without it the job is not done, and what is handed over again is a newer version of the same.
    with synced(job.path / REPORT) as file:
        file.write(msgspec.json.format(msgspec.json.encode(report), indent=2))
    return report


def _handed_over(
    job: TrainingJob, prepared: Prepared, settings: ServiceSettings, fitted: Fitted, report: Report, *,
    check: Callable[[], None],
) -> Report:  # fmt: skip
    """The report of what became of it. The gates come first: a refusal leaves the live trainer alone."""
    pipeline, examples, parts = prepared
    folder = CheckpointFolder(settings.storage_folder, pipeline.model_name)
    if refused := refusal(pipeline, folder, examples, parts, fitted, check=check):
        log.warning("not handed over", model=pipeline.model_name, job=job.path.name, gate=refused)
        return msgspec.structs.replace(report, refused=refused)
    version, offsets = hand_over(
        pipeline, settings, examples, fitted, metrics=version_metrics(report), job=job.path.name
    )
    return msgspec.structs.replace(report, version=version, offsets=offsets)


def _tracked(job: TrainingJob, pipeline: Pipeline, report: Report) -> str:
    """The run's id. A store that does not answer costs the run, not the job."""
    from headrace.tracking.runs import track

    try:
        return track(report, job.track, job.path.name, origin_of(pipeline), [job.path / WEIGHTS])
    except DependencyError as error:
        log.warning("the job is not tracked", error=error.message)
        return f"not tracked: {error.message}"


def fit(
    job: TrainingJob,
    prepared: Prepared,
    tell: Tell,
    check: Callable[[], None],
    on_epoch: OnEpoch = lambda _: None,
) -> tuple[Fitted, Report]:
    """The epochs that are left, and the weights of the best in the job's folder; errors as `run_job`."""
    pipeline, examples, parts = prepared
    fitting = Fitting(pipeline, examples, parts, job.path, check)
    fitted = fitting.run(job.epochs, job.patience, tell, on_epoch)
    named = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    data = save({name: tensor.contiguous() for name, tensor in fitted.weights.items()})
    with synced(job.path / WEIGHTS) as file:
        file.write(data)
    return fitted, Report(
        model=pipeline.model_name,
        unit=pipeline.model.error_unit,
        data=examples.described,
        settings=pipeline.spec.training.model_dump(mode="json"),
        error_name=pipeline.model.judge.error_name,
        parts={name: _part(pipeline, examples, part, fitting, fitted) for name, part in named.items()},
        epochs=fitted.epochs,
        best=fitted.best,
        steps=fitted.best_steps,
        left_out=examples.left_out.count,
        reasons=examples.left_out.reasons,
        purged=parts.purged,
        weights=str(job.path / WEIGHTS),
        digest=digest_of(data),
        seconds=0.0,
    )


def with_settings(pipeline: Pipeline, settings: Mapping[str, Any]) -> Pipeline:
    """The pipeline with other values of `training`.

    Raises:
        ConfigError: there is no such setting, or a value does not fit.
    """
    if not settings:
        return pipeline
    try:
        training = TrainingSpec.model_validate(_merged(pipeline.spec.training.model_dump(), settings))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise ConfigError(f"training.{where}: {first['msg']}", hint="see docs/training.md") from None
    spec = pipeline.spec.model_copy(update={"training": training})
    return Pipeline(pipeline.folder, spec, pipeline.model, pipeline.variant)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`, objects within objects too."""
    made = dict(base)
    for name, value in changes.items():
        inner = made.get(name)
        made[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return made


def _done(job: TrainingJob) -> Report | None:
    try:
        return msgspec.json.decode((job.path / REPORT).read_bytes(), type=Report)
    except FileNotFoundError:
        return None


def _part(pipeline: Pipeline, examples: Examples, part: np.ndarray, fitting: Fitting, fitted: Fitted) -> PartReport:
    if not len(part):
        return PartReport(examples=0)
    times, judged = examples.label_ms[part], fitting.judged(part, fitted.weights)
    return PartReport(
        examples=len(part),
        from_ms=int(times[0]),
        to_ms=int(times[-1]),
        error=finite_mean(np.array([one.error for one in judged])),
        metrics=task_metrics(pipeline.model.judge.task, judged),
        baselines=baseline_errors(examples, part),
    )


def version_metrics(report: Report) -> dict[str, float]:
    """For the version's event: the error on the newest part that was not trained on, beside the baselines' there."""
    part = next((report.parts[name] for name in ("test", "validation") if report.parts[name].examples), None)
    if part is None or part.error is None:
        return {}
    return {"error": part.error, **{f"baseline.{name}": error for name, error in part.baselines.items()}}
