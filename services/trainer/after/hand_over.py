"""`python -m services.trainer.after.hand_over JOB.json`: a finished training job's weights as a version."""

import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import torch

from headrace.jobs.child import Answers, Stopped, run_child
from headrace.model.pipeline import load_pipeline
from headrace.runtime.errors import WeightsError
from headrace.runtime.settings import ServiceSettings, load
from headrace.training.after import HandOverJob, HandOverReport, as_trained
from services.trainer.after.reports import read_report, trained_report, write_report
from services.trainer.deferred_compiler import defer_compiler
from services.trainer.offline.examples import gather
from services.trainer.offline.fitting import Fitting
from services.trainer.offline.handing_over import hand_over
from services.trainer.offline.parts import split
from services.trainer.offline.service import WEIGHTS, version_metrics, with_settings
from services.trainer.publishing import CLOCK_SLACK_US


def publish(job: HandOverJob, settings: ServiceSettings, stop: threading.Event) -> HandOverReport:
    """Publish a training job's weights, once: if this process dies at any point, the next one finds what was published.

    Raises:
        ConfigError: the training job is not done, or its examples or files are gone.
        FencedError: another trainer has taken over meanwhile.
        WeightsError, DependencyError: storage refuses, or Kafka does not answer.
    """
    if (done := read_report(job.path, HandOverReport)) is not None:
        return done
    torch.set_num_threads(1)
    report, folder = trained_report(job.trained), job.trained.path

    def check() -> None:
        if stop.is_set():
            raise Stopped("stopped", hint="the same command goes on")

    loaded = load_pipeline(job.trained.pipeline)
    pipeline = with_settings(loaded.of_model(job.trained.model), job.trained.settings)
    own = as_trained(job.trained, report.data)
    examples = gather(own, pipeline, settings, check)
    fitted = Fitting(pipeline, examples, split(examples, own.validation, own.test), folder, check).fitted
    if fitted.best != report.best:
        raise WeightsError(f"{folder}: its state is not that of its report", hint="train again")
    target = pipeline if job.model is None else with_settings(loaded.of_model(job.model), job.trained.settings)
    since_us = int((folder / WEIGHTS).stat().st_mtime * 1e6) - CLOCK_SLACK_US
    version, offsets = hand_over(
        target, settings, examples, fitted,
        metrics=version_metrics(report), job=folder.name, held=job.held, once_since_us=since_us,
    )  # fmt: skip
    handed = HandOverReport(model=target.model_name, version=version, offsets=offsets)
    write_report(job.path, handed)
    return handed


def main(job_file: str) -> int:
    """Do the job in the file; returns the exit code."""

    def work(_: Answers, stop: threading.Event) -> dict[str, Any]:
        defer_compiler()
        job = msgspec.json.decode(Path(job_file).read_bytes(), type=HandOverJob)
        return msgspec.to_builtins(publish(job, load(ServiceSettings, "headrace"), stop))  # type: ignore[no-any-return]

    return run_child(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
