"""A whole run, started as a user would start it: `headrace up` in a process of its own, looked at from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from confluent_kafka import Consumer, TopicPartition

from headrace.platform.state import ServerStatus, read_status
from headrace.runtime.settings import KAFKA_CONFIG
from headrace.security.operator import operator_config
from tests.patience import WAIT_S

ROOT = Path(__file__).parents[2]
FLIGHTS = ROOT / "examples" / "flights"
ROLES = {"trainer", "stream", "coordinator", "agent", "join", "monitor", "ingest", "rpc", "gateway"}

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, seconds: float = WAIT_S) -> T:
    """What `condition` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)
    return result


class Run:
    """One `headrace up`."""

    def __init__(self, folder: Path, pipeline: Path, *flags: str) -> None:
        self.folder = folder
        self.pipeline = pipeline
        environment = {k: v for k, v in os.environ.items() if k not in {"KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL"}}
        self._environment = environment
        self.log = folder.with_suffix(".log")
        with self.log.open("w") as log:
            self._up = subprocess.Popen(
                [sys.executable, "-m", "headrace", "up", str(pipeline), "--plain", "--run-dir", str(folder), *flags],
                stdout=log, stderr=log, env=environment, cwd=folder.parent,
            )  # fmt: skip
        self._family: dict[int, psutil.Process] = {}
        self.produced = 0

    @property
    def process(self) -> psutil.Process:
        """The process of `headrace up`."""
        return psutil.Process(self._up.pid)

    @property
    def ended(self) -> bool:
        """Whether that has ended."""
        return self._up.poll() is not None

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._up.wait(WAIT_S)

    def headrace(self, *arguments: str, expect: int = 0, **extra: Any) -> subprocess.CompletedProcess[str]:
        """Run a command against this run."""
        environment = {**self._environment, "KAFKA_BOOTSTRAP_SERVERS": self.kafka, "COLUMNS": "200"}
        if config := self.kafka_config:
            environment[KAFKA_CONFIG] = json.dumps(config)
        argv = [sys.executable, "-m", "headrace", *arguments]
        done = subprocess.run(
            argv,
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            cwd=self.folder.parent,
            **extra,
        )
        assert done.returncode == expect, f"headrace {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done

    def produce(self, flights: int, *flags: str) -> None:
        """Produce the next flights of the year, and the landings until then."""
        self.headrace("produce", str(self.pipeline), "--limit", str(flights), "--resume", *flags)
        self.produced += flights

    @property
    def status(self) -> dict[str, dict[str, Any]]:
        """Every role by name, as the supervisor last wrote."""
        try:
            roles = json.loads((self.folder / "supervisor.json").read_text())["roles"]
        except FileNotFoundError:
            return {}
        return {role["role"]: role for role in roles}

    @property
    def kafka(self) -> str:
        """The run's broker."""
        return read_status(self.folder / "platform").address("kafka")

    @property
    def kafka_config(self) -> dict[str, str]:
        """How the operator logs in; empty where the run is not secured."""
        return operator_config(self.folder)

    def platform_servers(self) -> list[ServerStatus]:
        """Kafka and Redis of this run."""
        return read_status(self.folder / "platform").servers

    def endpoint(self, role: str, name: str) -> str:
        """Address of a role."""
        return str(self.status[role]["endpoints"][name])

    def wait_ready(self, *roles: str, seconds: float = 2 * WAIT_S) -> None:
        """Until these roles are ready (all, if none is named)."""
        wanted = set(roles) or ROLES

        def ready() -> bool:
            assert self._up.poll() is None, f"headrace up ended:\n{self.log.read_text()[-3000:]}"
            self._remember()
            return all(self.status.get(role, {}).get("state") == "ready" for role in wanted)

        wait_for(ready, f"readiness of {sorted(wanted)}", seconds)

    def kill(self, role: str) -> int:
        """SIGKILL a role's process; its pid."""
        pid = int(self.status[role]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, role: str, old: int) -> None:
        """Until a role is ready in another process."""
        wait_for(
            lambda: self.status[role]["state"] == "ready" and self.status[role]["pid"] not in {None, old},
            f"restart of {role}",
            60,
        )

    def read(self, topic: str, *, committed: bool = True) -> list[Any]:
        """Every record on a topic now, in order within each partition."""
        level = "read_committed" if committed else "read_uncommitted"
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": "headrace.e2e",
                "isolation.level": level,
                "enable.auto.commit": False,
                **self.kafka_config,
            }
        )
        partitions = [
            TopicPartition(topic, p) for p in consumer.list_topics(topic, timeout=WAIT_S).topics[topic].partitions
        ]
        ends = {tp.partition: consumer.get_watermark_offsets(tp, timeout=WAIT_S)[1] for tp in partitions}
        consumer.assign([TopicPartition(topic, tp.partition, 0) for tp in partitions])
        records: list[Any] = []

        def at_end() -> bool:
            records.extend(consumer.consume(10_000, 0.2))
            return all(p.offset >= ends[p.partition] or not ends[p.partition] for p in consumer.position(partitions))

        wait_for(at_end, f"reading {topic}", WAIT_S)
        consumer.close()
        assert not [r.error() for r in records if r.error()]
        return records

    def _remember(self) -> None:
        for process in psutil.Process(self._up.pid).children(recursive=True):
            self._family.setdefault(process.pid, process)

    def down(self) -> list[psutil.Process]:
        """Stop it as a user does; the processes of it that are left."""
        self._remember()
        self.headrace("down", "--run-dir", str(self.folder))
        assert self._up.wait(WAIT_S) == 0, self.log.read_text()[-3000:]
        _, alive = psutil.wait_procs(list(self._family.values()), timeout=WAIT_S)
        return alive

    def close(self) -> None:
        """End whatever is left."""
        if self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    started = Run(tmp_path_factory.mktemp("e2e") / "run", FLIGHTS, "--core")
    try:
        yield started
    finally:
        started.close()
