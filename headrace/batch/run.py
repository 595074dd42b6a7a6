"""A batch job from its beginning, or from where it was, to its output. `run_batch` has its steps in order."""

import os
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import torch

from headrace.batch.engines.local import InProcess, Workers
from headrace.batch.engines.port import Engine
from headrace.batch.engines.runner import PartRunner, one_thread
from headrace.batch.job import Job, PartResult, Plan, TooManyBadRows, Version, output_kind
from headrace.batch.planning import check_same, identity, make_plan, rejected_file, summary_file
from headrace.batch.work import Work, work_folder
from headrace.batch.writing.assembling import Assembler
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime.errors import ConfigError
from headrace.runtime.files import remove, synced
from headrace.runtime.settings import ServiceSettings


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished job did; it stands beside the output as JSON.

    `rows` have a prediction, `bad_rows` have none and are in the file `rejected`, "" if there are none. `seconds` and
    `resumed` are those of the run that finished the job; `resumed` counts rows that earlier runs had done. `dataset`
    names the data set that was predicted, with its digest.
    """

    model: str
    version: int
    checkpoint: str
    output: str
    rows: int
    bad_rows: int
    rejected: str
    inputs: list[str]
    parts: int
    seconds: float
    resumed: int
    identity: dict[str, str]
    dataset: dict[str, str] = {}


class Observer(Protocol):
    """Is told how a job goes on."""

    def begun(self, version: Version, total: int, done: int) -> None:
        """The plan is made, of `total` rows (lines, of text files); earlier runs have done `done`."""
        ...

    def rows(self, read: int, bad: int) -> None:
        """So many rows more were done, and so many of them rejected."""
        ...

    def assembling(self) -> None:
        """All parts are done."""
        ...


def run_batch(
    job: Job,
    settings: ServiceSettings,
    observer: Observer,
    stop: threading.Event,
    *,
    overwrite: bool = False,
    restart: bool = False,
) -> Summary:
    """Do the job, or what is left of it; what was done already is returned as it was.

    `settings` say where Kafka and the chunk stores are, which weights from a file do not need. `overwrite` replaces an
    output that is another job's; `restart` throws away the work of an unfinished one.

    Raises:
        ConfigError: something asked for is wrong, or is not what the unfinished work was begun with.
        WeightsError, DependencyError: the weights cannot be had.
        TooManyBadRows: there are more than allowed; the work stays.
        Stopped: `stop` was set; the work stays.
    """
    output_kind(job.output_path)
    pipeline = load_pipeline(job.pipeline).of_model(job.model)
    now = identity(job, pipeline)
    done = _finished(job.output_path, now)
    folder = work_folder(job.output_path)
    if done is not None and not overwrite and not (folder / "plan.json").exists():
        return done
    work = Work(folder)
    try:
        if restart:
            _empty(folder)
        plan = work.plan()
        if plan is None:
            if not overwrite:
                _check_free(job)
            plan = make_plan(job, pipeline, settings, now, folder)
            work.begin(plan)
        else:
            check_same(plan, now, job)
            plan = msgspec.structs.replace(plan, job=job)
        summary = _Run(plan, pipeline, work, observer, stop).run()
        remove(folder)
    except BaseException:
        if not (folder / "plan.json").exists():  # nothing was begun, so nothing is left
            remove(folder)
        raise
    finally:
        work.close()
    return summary


def _finished(output: Path, now: Mapping[str, str]) -> Summary | None:
    """The summary of the job, if the output is this very job's."""
    try:
        summary = msgspec.json.decode(summary_file(output).read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError):
        return None
    return summary if output.exists() and summary.identity == now else None


def _check_free(job: Job) -> None:
    if job.output_path.exists():
        raise ConfigError(f"{job.output}: is there already, made by another job", hint="--overwrite replaces it")


def _empty(folder: Path) -> None:
    """Remove what is in the folder but its lock."""
    for path in sorted(
        folder.iterdir(), key=lambda p: p.name != "plan.json"
    ):  # the plan first: without it nothing counts
        if path.name == "lock":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


class _Run:
    """The parts of a plan, and the output."""

    def __init__(self, plan: Plan, pipeline: Pipeline, work: Work, observer: Observer, stop: threading.Event) -> None:
        self._plan, self._work, self._observer, self._stop = plan, work, observer, stop
        self._threads = torch.get_num_threads(), pa.cpu_count()
        self._runner = PartRunner(work.folder, plan, pipeline)
        self._done: dict[int, PartResult] = {}

    def run(self) -> Summary:
        started = time.monotonic()
        self._done = self._work.done()
        resumed = sum(result.rows + result.bad for result in self._done.values())
        self._observer.begun(self._plan.version, self._plan.rows, resumed)
        self._check_bad()
        assembler = Assembler(self._plan, self._work.folder, self._runner.schema, self._metadata())
        assembler.start()
        try:
            for result in self._done.values():
                assembler.add(result)
            self._parts(assembler)
            self._observer.assembling()
        except BaseException:
            assembler.stop()
            raise
        return self._finish(assembler, resumed, started)

    def _parts(self, assembler: Assembler) -> None:
        left = [part.index for part in self._plan.parts if part.index not in self._done]
        if not left:
            return
        try:
            with closing(self._engine(len(left)).run(left, self._observer.rows, self._stop)) as results:
                for result in results:
                    self._work.record(result)
                    self._done[result.part] = result
                    assembler.add(result)
                    self._check_bad()
        finally:
            torch.set_num_threads(self._threads[0])
            pa.set_cpu_count(self._threads[1])

    def _engine(self, parts: int) -> Engine:
        job = self._plan.job
        if job.engine == "ray":
            from headrace.batch.engines.ray import RayEngine

            return RayEngine(self._work.folder, job.workers)
        if min(job.workers, parts) > 1:
            return Workers(self._work.folder, job.workers)
        one_thread()
        return InProcess(self._runner)

    def _check_bad(self) -> None:
        most, bad = self._plan.job.max_bad_rows, sum(result.bad for result in self._done.values())
        if most is not None and bad > most:
            where = self._work.folder / "part-*.rejected.jsonl"
            raise TooManyBadRows(
                f"{bad} rows were rejected, {most} are allowed; they are listed in {where}",
                hint="--max-bad-rows N and the same command go on; --restart begins anew",
            )

    def _metadata(self) -> dict[str, str]:
        version = self._plan.version
        of_set = {f"headrace.dataset.{name}": text for name, text in self._plan.job.dataset.items()}
        return {
            **of_set,
            "headrace.model": version.model,
            "headrace.version": str(version.version),
            "headrace.checkpoint": version.checkpoint,
        }

    def _finish(self, assembler: Assembler, resumed: int, started: float) -> Summary:
        """In order: rejected rows and output into their places, durable; then the summary, which says it is done."""
        job, version = self._plan.job, self._plan.version
        bad = sum(result.bad for result in self._done.values())
        rejected = rejected_file(job.output_path)
        assembler.finish(job.output_path, rejected)
        summary = Summary(
            model=version.model,
            version=version.version,
            checkpoint=version.checkpoint,
            output=job.output,
            rows=sum(result.rows for result in self._done.values()),
            bad_rows=bad,
            rejected=str(rejected) if bad else "",
            inputs=[file.path for file in self._plan.files],
            parts=len(self._plan.parts),
            seconds=round(time.monotonic() - started, 3),
            resumed=resumed,
            identity=self._plan.identity,
            dataset=job.dataset,
        )
        with synced(summary_file(job.output_path)) as file:
            file.write(msgspec.json.format(msgspec.json.encode(summary), indent=2))
        return summary


def default_workers() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Silent:
    """Tells nobody."""

    def begun(self, version: Version, total: int, done: int) -> None:
        """See `Observer.begun`."""

    def rows(self, read: int, bad: int) -> None:
        """See `Observer.rows`."""

    def assembling(self) -> None:
        """See `Observer.assembling`."""


def as_dict(summary: Summary) -> dict[str, Any]:
    """For programs."""
    shown: dict[str, Any] = msgspec.to_builtins(summary)
    return shown
