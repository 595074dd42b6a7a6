"""`python -m services.trainer.offline JOB.json`: a training job as a process of its own, for whoever follows it.

If it is stopped or killed, the same file goes on after the last epoch that was finished. See `headrace.jobs.child`.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from headrace.jobs.child import Answers, Stopped, run_child
from headrace.runtime.settings import ServiceSettings, load
from headrace.training.job import EpochReport, TrainingJob
from services.trainer.deferred_compiler import defer_compiler
from services.trainer.offline.service import run_job

_EVERY_S = 0.2


def main(job_file: str) -> int:
    """Do the job in the file; returns the exit code."""

    def work(answers: Answers, stop: threading.Event) -> dict[str, Any]:
        defer_compiler()
        job = msgspec.json.decode(Path(job_file).read_bytes(), type=TrainingJob)
        told = 0.0

        def tell(epoch: int, done: int, batches: int) -> None:
            nonlocal told
            if done == batches or time.monotonic() - told > _EVERY_S:
                told = time.monotonic()
                answers.say(epoch=epoch, epochs=job.epochs, done=done, batches=batches)

        def on_epoch(passed: EpochReport) -> None:
            answers.say(passed=passed)

        def check() -> None:
            if stop.is_set():
                raise Stopped("stopped", hint="the same command goes on after the last finished epoch")

        report = run_job(job, load(ServiceSettings, "headrace"), tell, check, on_epoch)
        return msgspec.to_builtins(report)  # type: ignore[no-any-return]

    return run_child(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
