"""Platform, topics, services and replay of one run: started in the order that brings the first prediction soonest."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headrace.contracts import topics
from headrace.contracts.snapshot import Snapshot
from headrace.launch import runs
from headrace.launch.fork.client import ForkServer
from headrace.launch.fork.preloaded import ANSWERING_MODULES
from headrace.launch.observe import endpoint, read_snapshot
from headrace.launch.roles import ANSWERING, BESIDE, COUNTING, PREDICTING, ROLES, Role, role
from headrace.launch.run_file import remember
from headrace.launch.specs import RoleSpec, RoleStatus, StartWave, State
from headrace.launch.supervisor import Supervisor
from headrace.model.pipeline import spec_topics
from headrace.model.spec import PipelineSpec
from headrace.model.spec_file import load_spec
from headrace.platform import LocalPlatform
from headrace.platform.kafka.coordinators import create_coordinators
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError, PlatformError
from headrace.runtime.settings import ServiceSettings, load

REPLAY = "replay"
FORK_VARIABLE = "HEADRACE_FORK"
NUMERICS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
"""What every role gets beside our environment: one thread for numerics, since the processes share the cores."""
WAVE_S = 30.0
"""A wave of roles starts after so many seconds even if the one before has not come to anything."""


@dataclass(frozen=True)
class Replay:
    """How `headrace produce` replays the pipeline's source; None leaves it to pipeline.yaml."""

    speed: float | None = None
    rate: float | None = None
    datasets: Sequence[str] = ()
    """Data sets to replay instead of the pipeline's source."""

    def flags(self, spec: PipelineSpec) -> list[str]:
        """Flags for `headrace produce`."""
        speed, rate = self.speed, self.rate
        if speed is None and rate is None:
            speed, rate = spec.demo.speed, spec.demo.rate
        flags = ["--resume"]  # a replay that died, or that `--keep` goes on with, must not bring the same events again
        if self.datasets:
            flags += [f"--dataset={name}" for name in self.datasets]
        else:
            flags += [f"--option={name}={_plain(value)}" for name, value in spec.demo.options.items()]
        flags += [f"--rate={rate}"] if rate is not None else [f"--speed={speed}"] if speed is not None else []
        return flags


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass
class PipelineRun:
    """One run of a pipeline. A context manager: leaving it stops everything in order."""

    pipeline: Path
    run_dir: Path
    replay: Replay | None = None
    core: bool = False
    """Only the roles that predict and learn, without those that stand beside the flow."""
    spec: PipelineSpec = field(init=False)
    phase: str = "starting"

    def __post_init__(self) -> None:
        self.pipeline = self.pipeline.resolve()
        self.spec = load_spec(self.pipeline)
        if self.replay is not None and self.spec.source is None and not self.replay.datasets:
            raise ConfigError(
                f"{self.pipeline}: pipeline.yaml names no source to replay", hint="source: source.py:MySource"
            )
        self.platform = LocalPlatform(self.run_dir)
        self._forks = _fork_server(self.run_dir)
        self._supervisor: Supervisor | None = None
        self._starter = threading.Thread(target=self._start_others, name="starter", daemon=True)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Platform, topics, then the roles; returns once the first are started, and starts the others meanwhile.

        Raises:
            PlatformError: Kafka or Redis cannot be had.
            DependencyError: the topics cannot be made.
        """
        if self._forks is not None:
            self._forks.start()  # it imports while Kafka and Redis start
        endpoints = self.platform.start()
        if self.platform.kafka is not None:
            threading.Thread(
                target=create_coordinators, args=(endpoints.kafka_bootstrap_servers,), name="coordinators", daemon=True
            ).start()
        models = [one.name for one in self.spec.models]
        remember(self.run_dir, pipeline=self.spec.name, pipeline_folder=self.pipeline, models=models)
        settings = load(ServiceSettings, "headrace", ["--kafka-bootstrap-servers", endpoints.kafka_bootstrap_servers])
        kafka.ensure_topics(settings, [*spec_topics(self.spec), *topics.system_topics()])
        self._supervisor = Supervisor(self.run_dir, env={**NUMERICS, **endpoints.as_env()}, forks=self._forks)
        self._supervisor.watch(self.platform)
        self._supervisor.start(
            [self._wave(PREDICTING), *([StartWave([self._replay_role()])] if self.replay is not None else [])]
        )
        self._starter.start()

    def _start_others(self) -> None:
        """The later waves, each when the one before is up."""
        supervisor = self._required()
        for awaited, wave in (("stream", COUNTING), ("monitor", ANSWERING), ("gateway", BESIDE)):
            if self.core and wave == BESIDE:
                break
            deadline = time.monotonic() + WAVE_S
            while not _is_ready(supervisor.statuses(), awaited) and time.monotonic() < deadline:
                if self._stopping.wait(0.05):
                    return
            supervisor.start([self._wave(wave)])
        self.phase = "running" if self.phase == "starting" else self.phase

    def _wave(self, wave: int) -> StartWave:
        roles = (role for role in ROLES if role.wave == wave and self._has_what(role))
        return StartWave([*map(self._role, roles), *self._further_trainers(wave)])

    def _has_what(self, role: Role) -> bool:
        """Whether pipeline.yaml has the section that a role is for."""
        return not role.needs or bool(getattr(self.spec, role.needs))

    def _further_trainers(self, wave: int) -> list[RoleSpec]:
        """One for each further model, in the last wave: the stream answers without them."""
        trainer = role("trainer")
        flags = ["--pipeline", str(self.pipeline), "--model"]
        return [
            RoleSpec(
                trainer.name, trainer.module, trainer.name, [*flags, one.name], instance=f"{trainer.name}-{one.name}"
            )
            for one in (self.spec.models if wave == ANSWERING else ())
        ]

    def _role(self, role: Role) -> RoleSpec:
        modules = () if role.wave == PREDICTING else ANSWERING_MODULES
        return RoleSpec(role.name, role.module, role.name, ["--pipeline", str(self.pipeline)], modules=modules)

    def _replay_role(self) -> RoleSpec:
        flags = self.replay.flags(self.spec) if self.replay else []
        return RoleSpec(
            REPLAY, "headrace", "produce", ["produce", str(self.pipeline), "--resume", *flags], instance=REPLAY
        )

    def _required(self) -> Supervisor:
        if self._supervisor is None:
            raise PlatformError("the services are not started", hint="call start first")
        return self._supervisor

    def statuses(self) -> list[RoleStatus]:
        """Every role, in the order of starting; none before `start`."""
        return self._supervisor.statuses() if self._supervisor else []

    def snapshot(self) -> Snapshot | None:
        """The monitor's newest."""
        return read_snapshot(self.statuses())

    def address(self, role: str, name: str) -> str | None:
        """The address that a role published."""
        return endpoint(self.statuses(), role, name)

    def check(self) -> None:
        """Check that the run can go on.

        Raises:
            PlatformError: a server of the platform, or a role, failed for good.
        """
        self._required().raise_for_failures()

    @property
    def replay_is_over(self) -> bool:
        """Whether the source is at its end, or was stopped; False where there is none."""
        return any(status.instance == REPLAY and status.state.over for status in self.statuses())

    def stop_replay(self) -> None:
        """Ask the replay to end: what it has taken by then is still acknowledged."""
        if self._supervisor is not None and any(s.instance == REPLAY and not s.state.over for s in self.statuses()):
            self._supervisor.send(REPLAY, signal.SIGTERM)

    def stop(self) -> None:
        """Stop the replay, the services, Redis and Kafka, in this order."""
        self._stopping.set()
        self.phase = "stopping"
        self.stop_replay()
        if self._starter.ident:
            self._starter.join()
        if self._supervisor is not None:
            self._supervisor.stop()
        if self._forks is not None:
            self._forks.stop()
        self.platform.stop()
        self.phase = "stopped"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _is_ready(statuses: Sequence[RoleStatus], role: str) -> bool:
    return any(status.role == role and status.state is State.READY for status in statuses)


def _fork_server(run_dir: Path) -> ForkServer | None:
    """What roles are forked from, where the system can do that; with HEADRACE_FORK=0 each is a new interpreter."""
    if not ForkServer.supported() or os.environ.get(FORK_VARIABLE) == "0":
        return None
    return ForkServer(run_dir / "logs" / "fork-server.log", {**os.environ, **NUMERICS})


class Drained:
    """Tells when everything produced was predicted, and the joins that can be made are made."""

    def __init__(self, quiet_s: float = 1.5) -> None:
        self._quiet_s = quiet_s
        self._last: tuple[int, int] | None = None
        self._since = 0.0
        self._events = 0

    def check(self, snapshot: Snapshot | None) -> bool:
        """Whether the snapshots show nothing left to predict, and nothing new for a while."""
        if snapshot is None or snapshot.counts.unpredicted or snapshot.counts.events < self._events:
            self._last = None
            return False  # fewer events than before: a restarted monitor, which counts all of them again
        self._events = snapshot.counts.events
        now, seen = snapshot.at_us / 1e6, (snapshot.counts.events, snapshot.counts.joined)
        if seen != self._last:
            self._last, self._since = seen, now
        return now - self._since >= self._quiet_s


def fresh_folder(name: str, folder: Path | None) -> Path:
    """The folder of run `name`, empty of what an earlier run left there.

    Raises:
        PlatformError: that run is still going.
    """
    made = folder.expanduser().resolve() if folder else runs.home() / "runs" / name
    owner = runs.describe(made).owner if made.is_dir() else None
    if owner is not None:
        raise PlatformError(
            f"{name} runs already, as process {owner.pid}", hint="headrace down stops it; --run-dir keeps both"
        )
    for part in ("platform", "endpoints", "logs", "storage"):
        if (made / part).is_dir():
            shutil.rmtree(made / part)
    return runs.create(name, folder)
