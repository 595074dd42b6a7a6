"""A training job's report as a run, and runs read back."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.tracking.store import client, experiment, flat, refusals
from headrace.training.job import Report

if TYPE_CHECKING:
    from mlflow.entities import Run

JOB, VERSION, DATA = "headrace.job", "headrace.version", "headrace.data"
_MOST_TAG = 5000
_PAGE = 1000


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """A run as `headrace experiments` shows it. Times are ms since the epoch; errors None where the job had none."""

    id: str
    name: str
    started_ms: int
    seconds: float
    validation: float | None
    test: float | None
    version: int
    settings: dict[str, str]
    data: str
    code: str


def track(report: Report, uri: str, name: str, origin: Mapping[str, str], artifacts: Sequence[Path]) -> str:
    """Log a finished job as a run of its model's experiment; returns the run's id.

    The same job is one run, however often it is logged. Parameters are the settings, metrics the loss and the
    validation error of each epoch, and the error of each part beside its baselines'.

    Raises:
        TrackingError: the store does not answer, or refuses.
    """
    mlflow = client(uri)
    with refusals(f"tracking at {_shown(uri)}"):
        where = experiment(mlflow, report.model, uri)
        job = f"{name} {report.digest}"
        found = mlflow.search_runs([where], f"tags.`{JOB}` = '{job}' and attributes.status = 'FINISHED'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {JOB: job, DATA: msgspec.json.encode(report.data).decode()[:_MOST_TAG], **_named(origin)}
        if report.version:
            tags[VERSION] = str(report.version)
        run = str(mlflow.create_run(where, run_name=name, tags=tags).info.run_id)
        for setting, value in flat(report.settings).items():
            mlflow.log_param(run, setting, value)
        for metric, value, step in _metrics(report):
            mlflow.log_metric(run, metric, value, step=step)
        for path in artifacts:
            mlflow.log_artifact(run, str(path))
        mlflow.set_terminated(run)
    return run


def runs_of(uri: str, model: str) -> list[Tracked]:
    """The finished runs of a model's experiment, the newest first.

    Raises:
        TrackingError: the store does not answer, or refuses.
    """
    mlflow = client(uri)
    with refusals(f"tracking at {_shown(uri)}"):
        where = mlflow.get_experiment_by_name(model)
        if where is None:
            return []
        found = mlflow.search_runs([where.experiment_id], "attributes.status = 'FINISHED'", max_results=_PAGE)
    return [_tracked(run) for run in found]


def history_of(uri: str, run: str, metric: str) -> list[tuple[int, float]]:
    """A metric over epochs: (epoch, value).

    Raises:
        TrackingError: the store does not answer, or refuses.
    """
    with refusals(f"tracking at {_shown(uri)}"):
        return [(one.step, one.value) for one in client(uri).get_metric_history(run, metric)]


def _named(origin: Mapping[str, str]) -> dict[str, str]:
    return {f"headrace.{name}": value for name, value in origin.items()}


def _metrics(report: Report) -> Iterator[tuple[str, float, int]]:
    for epoch in report.epochs:
        yield "epoch.loss", epoch.loss, epoch.epoch
        if epoch.validation is not None:
            yield "epoch.validation", epoch.validation, epoch.epoch
    for name, part in report.parts.items():
        if part.error is not None:
            yield f"{name}.error", part.error, report.best
        for metric, value in part.metrics.items():
            yield f"{name}.{metric}", value, report.best
        for baseline, error in part.baselines.items():
            yield f"{name}.baseline.{baseline}", error, report.best
    yield "seconds", report.seconds, report.best


def _tracked(run: "Run") -> Tracked:
    metrics: Mapping[str, float] = run.data.metrics
    tags: Mapping[str, Any] = run.data.tags
    return Tracked(
        id=str(run.info.run_id),
        name=str(run.info.run_name),
        started_ms=int(run.info.start_time),
        seconds=metrics.get("seconds", 0.0),
        validation=metrics.get("validation.error"),
        test=metrics.get("test.error"),
        version=int(tags.get(VERSION, 0)),
        settings=dict(run.data.params),
        data=str(tags.get(DATA, "")),
        code=str(tags.get("headrace.code", "")),
    )


def _shown(uri: str) -> str:
    """Without a password."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
