"""`python -m services.trainer.offline.study JOB.json`: a study of hyperparameters, by Optuna, as a process of its own.

Trials are kept in the folder's journal as they go on, so the same command goes on with the study after a stop or a
crash; a trial that was under way is done again. Each worker is a process that holds the examples and does one trial
after another.
"""

import contextlib
import fcntl
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from headrace.contracts.topics import EXAMPLES
from headrace.jobs.child import Answers, Stopped, guard, run_child
from headrace.model.pipeline import load_pipeline
from headrace.runtime.errors import ConfigError, DataError
from headrace.runtime.files import remove, synced
from headrace.runtime.settings import ServiceSettings, load
from headrace.runtime.topic_ranges import offsets_of
from headrace.training.job import EpochReport, Report
from headrace.training.study import Axis, StudyJob, StudyReport, Trial, nested
from services.trainer.deferred_compiler import defer_compiler
from services.trainer.offline.plots import draw
from services.trainer.offline.service import Prepared, fit, prepare, run_job, with_settings

REPORT, JOURNAL, LOCK, RANGE = "study.json", "trials.journal", "lock", "range.json"
_NAMES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def run_study(job: StudyJob, settings: ServiceSettings, answers: Answers, stop: threading.Event) -> StudyReport:
    """Do a study, or what is left of it.

    Raises:
        ConfigError: something asked for is wrong, or another process does this study.
        DataError: no trial came to an end.
        Stopped: `stop` was set.
    """
    started, folder = time.monotonic(), job.training.path
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        job = _with_range(job, settings)
        study = _opened(job)
        _begin_again(study, job)
        _work(job, settings, study, answers, stop)
        report = _report(job, study, time.monotonic() - started)
        if job.training.hand_over:
            report = _handed_over(job, settings, report, stop)
        with synced(folder / REPORT) as file:
            file.write(msgspec.json.format(msgspec.json.encode(report), indent=2))
    return report


def _with_range(job: StudyJob, settings: ServiceSettings) -> StudyJob:
    """With the topic's range in offsets, as it was when the study began: all trials have the same examples."""
    training, path = job.training, job.training.path / RANGE
    if training.data != "topic":
        return job
    if not path.exists():
        topic = EXAMPLES.name(load_pipeline(training.pipeline).name)
        found = offsets_of(settings, topic, training.start, training.end)
        texts = [",".join(f"{p}:{offset}" for p, offset in sorted(offsets.items())) for offsets in found]
        with synced(path) as file:
            file.write(msgspec.json.encode(texts))
    start, end = msgspec.json.decode(path.read_bytes(), type=tuple[str, str])
    return msgspec.structs.replace(job, training=msgspec.structs.replace(training, start=start, end=end))


def _handed_over(job: StudyJob, settings: ServiceSettings, report: StudyReport, stop: threading.Event) -> StudyReport:
    """The best trial is done again, to the same bits, as a training job that hands over; its name says which it was."""

    def check() -> None:
        if stop.is_set():
            raise Stopped("stopped", hint="the same command goes on with the study")

    folder = job.training.path / f"{job.training.path.name}-trial-{report.best.number}"
    training = msgspec.structs.replace(job.training, folder=str(folder), settings=nested(report.best.settings))
    made = run_job(training, settings, lambda *_: None, check)
    return msgspec.structs.replace(report, version=made.version, refused=made.refused)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder}: another process does this study") from None
        yield


def _opened(job: StudyJob, worker: int = 0) -> optuna.Study:
    """The study as one of its processes sees it. Workers, or a worker before and after a stop, search differently."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5) if job.prune else optuna.pruners.NopPruner()
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(job.training.path / JOURNAL))),
        study_name="study",
        load_if_exists=True,
        pruner=pruner,
    )
    seed = job.seed + worker + 1000 * len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=job.workers > 1)
    return study


def _begin_again(study: optuna.Study, job: StudyJob) -> None:
    """Have trials done again that an earlier process had under way; the first of all has the pipeline's settings."""
    if not study.trials:
        study.enqueue_trial({}, user_attrs={"own": True})
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"own": trial.user_attrs.get("own", False)})
        _forget(job, trial.number)


def _work(
    job: StudyJob, settings: ServiceSettings, study: optuna.Study, answers: Answers, stop: threading.Event
) -> None:
    context = multiprocessing.get_context("spawn")
    stopping, left = context.Event(), context.Semaphore(max(0, job.trials - _over(study)))
    next_number = context.Value("i", 0)
    with ProcessPoolExecutor(job.workers, context, _Worker.open, (job, settings, stopping, left, next_number)) as pool:
        working = [pool.submit(_Worker.trials) for _ in range(job.workers)]
        said = -1
        while not all(one.done() for one in working):
            if stop.wait(0.2):
                stopping.set()
            if (over := _over(study)) != said:
                said = over
                answers.say(trials=over, of=job.trials, best=_best(study))
        for one in working:
            one.result()
    if stop.is_set():
        raise Stopped("stopped", hint="the same command goes on with the study")


def _over(study: optuna.Study) -> int:
    """Trials that are done; one that a dead process had under way is not, it is done again."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return len(study.get_trials(deepcopy=False, states=states)) + sum("error" in t.user_attrs for t in failed)


def _best(study: optuna.Study) -> float | None:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return min((trial.value for trial in complete if trial.value is not None), default=None)


class _Worker:
    """A process that does trials, with the examples in its memory."""

    made: "_Worker"
    failed: Exception | None = None

    @classmethod
    def open(cls, job: StudyJob, settings: ServiceSettings, stopping: Any, left: Any, next_number: Any) -> None:
        """Read the examples; what goes wrong is raised by `trials`, since a pool prints what an initializer raises."""
        guard()
        defer_compiler()
        with next_number.get_lock():
            number = next_number.value
            next_number.value += 1
        try:
            cls.made = cls(job, settings, stopping, left, number)
        except Exception as error:  # noqa: BLE001 - it is raised again
            cls.failed = error

    @classmethod
    def trials(cls) -> None:
        """Do trials while any are left."""
        if cls.failed is not None:
            raise cls.failed
        cls.made.work()

    def __init__(self, job: StudyJob, settings: ServiceSettings, stopping: Any, left: Any, number: int) -> None:
        self._job, self._stopping, self._left = job, stopping, left
        self._prepared = prepare(job.training, settings, self._check)
        self._study = _opened(job, number)

    def work(self) -> None:
        while not self._stopping.is_set() and self._left.acquire(block=False):
            trial = self._study.ask()
            try:
                report = self._fit(trial)
            except optuna.TrialPruned:
                self._study.tell(trial, state=TrialState.PRUNED)
            except Stopped:
                return  # the trial stays under way, and is done again
            except (ConfigError, DataError) as error:
                trial.set_user_attr("error", str(error))
                self._study.tell(trial, state=TrialState.FAIL)
                if isinstance(error, ConfigError):
                    raise
            else:
                trial.set_user_attr("test", report.parts["test"].error)
                self._study.tell(trial, report.parts["validation"].error)
            _forget(self._job, trial.number)

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Stopped("stopped")

    def _fit(self, trial: optuna.Trial) -> Report:
        job, own = self._job, trial.user_attrs.get("own", False)
        chosen = {} if own else {axis.name: _suggested(trial, axis) for axis in job.space}
        pipeline = with_settings(self._prepared.pipeline, nested(chosen))
        folder = job.training.path / f"trial-{trial.number}"
        folder.mkdir(exist_ok=True)

        def on_epoch(epoch: EpochReport) -> None:
            trial.set_user_attr("epochs", epoch.epoch)
            if epoch.validation is not None:
                trial.report(epoch.validation, epoch.epoch)
            if not own and trial.should_prune():
                raise optuna.TrialPruned

        training = msgspec.structs.replace(job.training, folder=str(folder))
        _, report = fit(training, Prepared(pipeline, *self._prepared[1:]), lambda *_: None, self._check, on_epoch)
        return report


def _suggested(trial: optuna.Trial, axis: Axis) -> Any:
    if axis.choices:
        return trial.suggest_categorical(axis.name, axis.choices)
    if axis.whole:
        return trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log)


def _forget(job: StudyJob, number: int) -> None:
    """A trial's weights and state are not kept: training with its settings makes them again, bit for bit."""
    if (folder := job.training.path / f"trial-{number}").exists():
        remove(folder)


def _report(job: StudyJob, study: optuna.Study, seconds: float) -> StudyReport:
    over = [trial for trial in study.trials if trial.state in _NAMES and (trial.params or trial.user_attrs)]
    shown = [_trial(trial) for trial in over if trial.state is not TrialState.FAIL or "error" in trial.user_attrs]
    complete = [trial for trial in over if trial.state is TrialState.COMPLETE]
    if not complete:
        reasons = [trial.user_attrs["error"] for trial in over if "error" in trial.user_attrs]
        raise DataError(f"no trial came to an end{': ' + reasons[0] if reasons else ''}")
    best = min(complete, key=lambda trial: (trial.value, trial.number))
    first = next((trial for trial in complete if trial.user_attrs.get("own")), best)
    pipeline = load_pipeline(job.training.pipeline).of_model(job.training.model)
    return StudyReport(
        model=pipeline.model_name,
        unit=pipeline.model.error_unit,
        trials=shown,
        first=_trial(first),
        best=_trial(best),
        test={"first": first.user_attrs.get("test"), "best": best.user_attrs.get("test")},
        plots=draw(shown, job.space, pipeline.model.error_unit, job.training.path),
        seconds=seconds,
    )


def _trial(trial: FrozenTrial) -> Trial:
    epochs = int(trial.user_attrs.get("epochs", 0))
    state = _NAMES[trial.state]
    return Trial(number=trial.number, settings=trial.params, state=state, error=trial.value, epochs=epochs)  # type: ignore[arg-type]


def main(job_file: str) -> int:
    """Do the study in the file; returns the exit code."""

    def work(answers: Answers, stop: threading.Event) -> dict[str, Any]:
        job = msgspec.json.decode(Path(job_file).read_bytes(), type=StudyJob)
        report = run_study(job, load(ServiceSettings, "headrace"), answers, stop)
        return msgspec.to_builtins(report)  # type: ignore[no-any-return]

    return run_child(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
