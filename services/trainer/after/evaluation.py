"""`python -m services.trainer.after.evaluation JOB.json`: trained weights beside the version that serves."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file

from headrace.batch.weights import tensors_of
from headrace.contracts.events_pb2 import CheckpointPublished
from headrace.jobs.child import Answers, Stopped, run_child
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.rollouts.directives import as_checkpoint
from headrace.rollouts.history import RolloutHistory
from headrace.rollouts.reading import ROLLOUTS, read_history
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings, load
from headrace.training.after import EvaluationJob, EvaluationReport, Scores, as_trained
from headrace.weights import Manifest, signing_key
from headrace.weights.format.manifest import check_signature
from services.trainer.after.reports import read_report, trained_report, write_report
from services.trainer.deferred_compiler import defer_compiler
from services.trainer.offline.examples import Examples, gather
from services.trainer.offline.judging import baseline_errors, finite_mean, judged, network_of, task_metrics
from services.trainer.offline.parts import split
from services.trainer.offline.service import WEIGHTS, with_settings

Check = Callable[[], None]


def evaluate(job: EvaluationJob, settings: ServiceSettings, check: Check) -> EvaluationReport:
    """Do a comparison; one that is done is returned as it was.

    Raises:
        ConfigError: something asked for is wrong, or there is no example.
        WeightsError, DependencyError: storage or Kafka fail.
    """
    if (done := read_report(job.path, EvaluationReport)) is not None:
        return done
    started = time.monotonic()
    torch.set_num_threads(1)
    trained = trained_report(job.trained)
    pipeline = with_settings(load_pipeline(job.trained.pipeline).of_model(job.trained.model), job.trained.settings)
    champion = _serving(pipeline.model_name, settings)
    weights = {} if champion is None else _weights_of(champion, settings)  # first: an old version is not kept for long
    examples, part = _examples(job, pipeline, settings, trained.data, check)
    score = _scorer(pipeline, examples, part, check)
    report = EvaluationReport(
        model=pipeline.model_name,
        unit=pipeline.model.error_unit,
        error_name=pipeline.model.judge.error_name,
        data=examples.described,
        examples=len(part),
        from_ms=int(examples.label_ms[part[0]]),
        to_ms=int(examples.label_ms[part[-1]]),
        candidate=score(load_file(job.trained.path / WEIGHTS)),
        champion=score(weights) if champion is not None else None,
        version=champion.version if champion is not None else 0,
        baselines=baseline_errors(examples, part),
        seconds=time.monotonic() - started,
    )
    write_report(job.path, report)
    return report


def _examples(
    job: EvaluationJob, pipeline: Pipeline, settings: ServiceSettings, data: dict[str, Any], check: Check
) -> tuple[Examples, np.ndarray]:
    """The examples, and the indexes of those that are compared on."""
    own = as_trained(job.trained, data)
    examples = gather(job.on or own, pipeline, settings, check)
    part = split(examples, own.validation, own.test).test if job.on is None else np.arange(len(examples))
    part = part[-job.last :] if job.last else part
    if not len(part):
        raise ConfigError("no example to compare on")
    return examples, part


def _scorer(
    pipeline: Pipeline, examples: Examples, part: np.ndarray, check: Check
) -> Callable[[Mapping[str, torch.Tensor]], Scores]:
    def score(weights: Mapping[str, torch.Tensor]) -> Scores:
        made = judged(pipeline.model, network_of(pipeline.model, weights), examples, part, check)
        error = finite_mean(np.array([one.error for one in made]))
        return Scores(error=error, metrics=task_metrics(pipeline.model.judge.task, made))

    return score


def _serving(model: str, settings: ServiceSettings) -> CheckpointPublished | None:
    """The version that the fleet serves now; None where none does."""
    history = RolloutHistory(model)
    read_history(settings, history, {ROLLOUTS: 0})
    active = history.view(model).active
    return None if active is None else as_checkpoint(active)


def _weights_of(version: CheckpointPublished, settings: ServiceSettings) -> dict[str, torch.Tensor]:
    check_signature(version.manifest, version.signature, signing_key(settings))
    return tensors_of(Manifest.decode(version.manifest), settings)


def main(job_file: str) -> int:
    """Do the comparison in the file; returns the exit code."""

    def work(_: Answers, stop: threading.Event) -> dict[str, Any]:
        def check() -> None:
            if stop.is_set():
                raise Stopped("stopped", hint="the same command begins again")

        defer_compiler()
        job = msgspec.json.decode(Path(job_file).read_bytes(), type=EvaluationJob)
        return msgspec.to_builtins(evaluate(job, load(ServiceSettings, "headrace"), check))  # type: ignore[no-any-return]

    return run_child(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
