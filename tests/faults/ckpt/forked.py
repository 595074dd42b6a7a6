"""Mortal roles as forks of a server that has imported everything, so that deaths and successors cost no start-up."""

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace.model.pipeline import load_pipeline
from headrace.runtime import logging
from headrace.runtime.errors import HeadraceError
from headrace.runtime.lifecycle import run_role
from headrace.runtime.settings import ServiceSettings
from headrace.weights import agent_socket, open_store, signing_key
from services.ckpt.agent.settings import AgentSettings
from services.ckpt.coordinator.settings import CoordinatorSettings
from services.trainer.checkpoint import Checkpoint, CheckpointFolder, Header
from services.trainer.kafka import KafkaAnnouncer
from tests.faults.ckpt.mortal import Fate, MortalAgent, MortalCoordinator, MortalPublisher, MortalWeights
from tests.faults.ckpt.proof import state_of
from tests.patience import WAIT_S

_FORKS = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Start what is forked from; it imports in the background."""
    _FORKS.set_forkserver_preload([__name__])
    forkserver.ensure_running()


def stop_server() -> None:
    forkserver._forkserver._stop()


class Forked:
    """A role's process; what it logs goes to a file.

    Args:
        role: one of the functions below.
        env: its environment, beside what the tests have.
        log: the file.
    """

    def __init__(self, role: Callable[..., int], *arguments: Any, env: Mapping[str, str], log: Path) -> None:
        self.log = log
        log.touch()
        self.process = _FORKS.Process(target=_run, args=(role, arguments, dict(env), log), daemon=True)
        self.process.start()

    def expect(self, code: int) -> None:
        """Wait until it has ended, with this exit code, or by this signal where negative."""
        self.process.join(WAIT_S)
        if self.process.exitcode != code:
            pytest.fail(f"exit code {self.process.exitcode}, expected {code}; log:\n{self.log.read_text()[-4000:]}")

    def expect_stopped(self) -> None:
        """Wait until it has sent itself SIGSTOP."""
        deadline = time.monotonic() + WAIT_S
        while psutil.Process(self.process.pid).status() != psutil.STATUS_STOPPED:
            if time.monotonic() > deadline:
                pytest.fail(f"not stopped; log:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.005)

    def go_on(self) -> None:
        os.kill(self.process.pid or 0, signal.SIGCONT)

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join(WAIT_S)


def _run(role: Callable[..., int], arguments: tuple[Any, ...], env: dict[str, str], log: Path) -> None:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.environ.update(env)
    sys.exit(role(*arguments))


# What is forked.


def coordinator(fate: Fate, *flags: str) -> int:
    return run_role("coordinator", CoordinatorSettings, partial(MortalCoordinator, fate=fate), flags)


def agent(fate: Fate, slow_s: float, largest_file: int, *flags: str) -> int:
    """``largest_file`` stands for a shared memory without room: the kernel gives a slot no more pages than that."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file or most, most))
    return run_role("agent", AgentSettings, partial(MortalAgent, fate=fate, slow_s=slow_s), flags)


def worker(fate: Fate, pipeline: Path, name: str) -> int:
    """A worker that serves until it is killed."""
    logging.configure("info", "console", instance=name)
    made = load_pipeline(pipeline)
    socket = agent_socket(ServiceSettings())
    MortalWeights(socket, made.model_name, made.model.network, worker=name, role="test", fate=fate).start()
    while True:
        signal.pause()


def trainer(fate: Fate, model: str, version: int) -> int:
    """Resume, as a trainer that starts does; then publish a version, unless it is 0."""
    logging.configure("info", "console", instance="trainer")
    try:
        _train(fate, model, version)
    except HeadraceError as error:  # as `run_role` ends
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


def _train(fate: Fate, model: str, version: int) -> None:
    settings = ServiceSettings()
    announcer, store = KafkaAnnouncer(settings, model, transaction_timeout_ms=10_000), open_store(settings)
    folder = CheckpointFolder(settings.storage_folder, model)
    publisher = MortalPublisher(folder, store, announcer, fate, keep=3, signing_key=signing_key(settings))
    resumed = publisher.resume()
    if version:
        assert resumed.next_version == version, resumed
        publisher.publish_checkpoint(checkpoint(model, version, resumed.epoch))
    announcer.close()
    store.close()


def checkpoint(model: str, version: int, epoch: int) -> Checkpoint:
    header = Header(
        model=model, version=version, base_version=version - 1, epoch=epoch, step=version, examples=0, topic="t",
        offsets={0: version}, partitions=[0], batches=[], newest_label_us=0, created_at=time.time_ns() // 1000,
        metrics={},
        progress={},
    )  # fmt: skip
    return Checkpoint(header, state_of(version), {}, {})
