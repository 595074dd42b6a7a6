"""The embedded broker: Apache Kafka in KRaft mode, one combined node, from its jars."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from headrace.platform import process
from headrace.platform.external import probe
from headrace.platform.files import log_tail, write_atomic
from headrace.platform.kafka.class_archive import ClassArchive
from headrace.platform.kafka.config import as_properties, broker_config
from headrace.platform.kafka.jar_cache import cache_root, ensure, require_space
from headrace.platform.kafka.jars import kafka_version, locked_jars
from headrace.platform.kafka.java import Java, find_java
from headrace.platform.kafka.maven import MavenFetch
from headrace.platform.kafka.progress import progress_for
from headrace.platform.kafka.storage import format_storage
from headrace.platform.process import ProcessId
from headrace.runtime.errors import PlatformError

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
HEAP = "512m"
_STOPPED_BY_SIGTERM = 128 + signal.SIGTERM  # how a JVM ends after running its shutdown hooks
_PORT_ATTEMPTS = 3
_LEAST_DISK = 512 << 20
_JVM_FLAGS = (
    f"-Xmx{HEAP}",
    # A broker moves bytes: over 2 million records in transactions the quick compiler alone took 9 s of processor time
    # where both took 16, from the first round to the last, and 240 MB where both took 440.
    "-XX:TieredStopAtLevel=1",
    # A collection stops every client, so its pause is everybody's p99. What waits in the broker for a second or two
    # survives many young collections, and copying it each time made pauses of 40 to 120 ms every few seconds (parallel
    # collector, two threads on two busy cores); kept after one, in one thread, they are 15 to 25 ms. What is kept so
    # grows by half a megabyte a second at 10,000 events/s, and is collected as a whole after minutes.
    "-XX:+UseSerialGC",
    "-Xmn128m",
    "-XX:MaxTenuringThreshold=1",
    # with the quick compiler's small default, a nearly full code cache led to a full collection during start-up
    "-XX:ReservedCodeCacheSize=128m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    # the broker prints all its settings, several times over
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaConfig=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils.AppInfoParser=warn",
)


class _PortTakenError(Exception):
    """Somebody took a port between our choosing it and the broker's listening."""


class EmbeddedKafka:
    """One broker on 127.0.0.1. `launch` then `wait_ready`; `stop`; or `kill` and `launch` again at the same address."""

    name = "kafka"

    def __init__(
        self,
        folder: Path,
        *,
        java: str | os.PathLike[str] | None = None,
        port: int | None = None,
        last_port: int | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        self._folder, self._named_java, self._extra = folder, java, config
        self._fixed_port = port
        self._port = port or last_port
        self._process: subprocess.Popen[bytes] | None = None
        self._cluster_id = ""
        self._archive: ClassArchive | None = None
        self._since, self._log_start = 0.0, 0
        self.log = folder / "kafka.log"
        self.ready_after_s = 0.0

    @property
    def address(self) -> str:
        """host:port for clients, once launched."""
        return f"127.0.0.1:{self._port}"

    @property
    def port(self) -> int | None:
        """The clients' port, once launched."""
        return self._port

    @property
    def id(self) -> ProcessId | None:
        """Its process, while it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return ProcessId.of(self._process.pid)

    def launch(self) -> None:
        """Fetch what is missing, format a new data folder, start the process.

        Raises:
            PlatformError: no Java, no jars, no disk space, the port asked for is taken, formatting failed.
        """
        java, jars = find_java(self._named_java), locked_jars()
        version = kafka_version(jars)
        cache = cache_root() / "kafka" / version
        paths = ensure(jars, cache, MavenFetch(), progress_for(f"Apache Kafka {version}"))
        self._folder.mkdir(parents=True, exist_ok=True)
        require_space(self._folder, _LEAST_DISK, "Kafka's topics")
        classpath = os.pathsep.join(map(str, sorted(paths)))
        self._cluster_id = format_storage(self._folder / "kafka", cache, java, classpath)
        self._archive = ClassArchive(cache, java, classpath, self._folder)
        self._start(java, classpath, self._archive.flags())

    def _start(self, java: Java, classpath: str, archive: list[str]) -> None:
        if self._fixed_port and not process.port_is_free(self._fixed_port):
            raise PlatformError(
                f"Kafka: port {self._fixed_port} is taken", hint="choose another, or none for a free one"
            )
        if self._port is None or not process.port_is_free(self._port):
            self._port = process.free_port()
        config = broker_config(self._folder / "kafka", self._port, process.free_port(), self._extra)
        properties = self._folder / "server.properties"
        write_atomic(properties, as_properties(config).encode())
        self._since = time.monotonic()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        command = [str(java.path), *_JVM_FLAGS, *archive, "-cp", classpath, "kafka.Kafka", str(properties)]
        self._process = process.spawn(command, self.log)

    def wait_ready(self) -> None:
        """Return when a metadata request is answered by this very broker.

        Raises:
            PlatformError: it died, or does not answer in time; with the tail of its log.
        """
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                self._wait_ready()
                break
            except _PortTakenError:
                if attempt == _PORT_ATTEMPTS or self._fixed_port:
                    raise PlatformError(
                        f"Kafka: a port was taken while it started; its log ends:\n{log_tail(self.log)}",
                        hint="try again",
                    ) from None
                self._port = None
                self.launch()
        self.ready_after_s = time.monotonic() - self._since
        if self._archive is not None:
            self._archive.broker_is_ready()

    def _wait_ready(self) -> None:
        client = probe(self.address)
        answered = process.wait_until(lambda: self.id is None or self._answers(client), READY_TIMEOUT_S)
        if self.id is None:
            if "Address already in use" in self._log_since_start():
                raise _PortTakenError
            raise PlatformError(f"Kafka died at start; {self.log} ends:\n{log_tail(self.log)}")
        if not answered:
            self.stop()
            raise PlatformError(
                f"Kafka does not answer after {READY_TIMEOUT_S:.0f} s; {self.log} ends:\n{log_tail(self.log)}"
            )

    def _answers(self, client: AdminClient) -> bool:
        try:
            found = client.list_topics(timeout=0.5)
        except KafkaException:
            return False
        return bool(found.brokers) and str(found.cluster_id) == self._cluster_id

    def _log_since_start(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def check(self) -> None:
        """Check that the process runs.

        Raises:
            PlatformError: it died; with the tail of its log.
        """
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise PlatformError(f"Kafka died with exit code {code}; {self.log} ends:\n{log_tail(self.log)}")

    def kill(self) -> None:
        """SIGKILL, as a power cut: for fault tests. `launch` and `wait_ready` bring it back at the same address."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._gone(in_order=False)

    def stop(self) -> None:
        """Stop the process in order; harmless if it is not there."""
        if self._process is not None:
            in_order = process.stop(self._process, STOP_TIMEOUT_S)
            self._gone(in_order=in_order and self._process.returncode == _STOPPED_BY_SIGTERM)
            self._process = None

    def _gone(self, *, in_order: bool) -> None:
        if self._archive is not None:
            self._archive.broker_is_gone(in_order=in_order)
            self._archive = None
