"""The embedded broker: Apache Kafka in KRaft mode, one combined node, from its jars."""

import os
import signal
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
from headrace.platform.security import PlatformSecurity
from headrace.platform.server import Server
from headrace.runtime.errors import PlatformError

READY_TIMEOUT_S = 60.0
_METADATA_TIMEOUT_S = 0.5
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


class EmbeddedKafka(Server):
    """One broker on 127.0.0.1. `kill`, then `launch` and `wait_ready`, bring it back at the same address."""

    name = "kafka"
    title = "Kafka"
    stop_timeout_s = 15.0

    def __init__(
        self,
        folder: Path,
        *,
        java: str | os.PathLike[str] | None = None,
        port: int | None = None,
        last_port: int | None = None,
        config: Mapping[str, str] | None = None,
        security: PlatformSecurity | None = None,
    ) -> None:
        super().__init__(folder, port=port, last_port=last_port)
        self._named_java, self._extra, self._security = java, config, security
        self._tls_port: int | None = None
        self._cluster_id = ""
        self._archive: ClassArchive | None = None
        self._client: AdminClient | None = None
        self._since, self._log_start = 0.0, 0
        self.ready_after_s = 0.0

    @property
    def address(self) -> str:
        """host:port for clients, once launched."""
        return f"127.0.0.1:{self._port}"

    def launch(self) -> None:
        """Fetch what is missing, format a new data folder, start the process.

        Raises:
            PlatformError: no Java, no jars, no disk space, the port asked for is taken, formatting failed.
        """
        self._gone(in_order=False)  # does nothing unless a process of before died
        java, jars = find_java(self._named_java), locked_jars()
        version = kafka_version(jars)
        cache = cache_root() / "kafka" / version
        paths = ensure(jars, cache, MavenFetch(), progress_for(f"Apache Kafka {version}"))
        self.folder.mkdir(parents=True, exist_ok=True)
        require_space(self.folder, _LEAST_DISK, "Kafka's topics")
        classpath = os.pathsep.join(map(str, sorted(paths)))
        self._cluster_id = format_storage(self.folder / "kafka", cache, java, classpath)
        self._archive = ClassArchive(cache, java, classpath, self.folder)
        self._start(java, classpath, self._archive.flags())

    def _start(self, java: Java, classpath: str, archive: list[str]) -> None:
        port = self._take_port()
        config = broker_config(self.folder / "kafka", port, controller := process.free_port(), self._extra)
        if self._security is not None:
            self._tls_port = process.free_port()
            config |= self._security.broker_config(port, self._tls_port, controller)
        properties = self.folder / "server.properties"
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
        if self._security is not None:
            self._security.prepare(self._probe())
        if self._archive is not None:
            self._archive.broker_is_ready()

    def _wait_ready(self) -> None:
        answered = process.wait_until(lambda: self.id is None or self.answers(), READY_TIMEOUT_S)
        if self.id is None:
            if "Address already in use" in self._log_since_start():
                raise _PortTakenError
            raise self._not_ready(READY_TIMEOUT_S)
        if not answered:
            late = self._not_ready(READY_TIMEOUT_S)
            self.stop()
            raise late

    def answers(self) -> bool:
        """Whether a metadata request is answered by a broker of our cluster."""
        self._client = client = self._client or self._probe()
        try:
            found = client.list_topics(timeout=_METADATA_TIMEOUT_S)
        except KafkaException:
            return False
        answered = bool(found.brokers) and str(found.cluster_id) == self._cluster_id
        self._client = None if answered else client  # a client is threads and connections: kept only while it starts
        return answered

    def _probe(self) -> AdminClient:
        if self._security is None:
            return probe(self.address)
        return probe(f"127.0.0.1:{self._tls_port}", self._security.admin_config())

    def _log_since_start(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL, as a power cut: for fault tests. `launch` and `wait_ready` bring it back at the same address."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._gone(in_order=False)

    def stop(self) -> None:
        """Stop the process in order; harmless if it is not there."""
        if self._process is not None:
            in_order = process.stop(self._process, self.stop_timeout_s)
            self._gone(in_order=in_order and self._process.returncode == _STOPPED_BY_SIGTERM)
            self._process = None

    def _gone(self, *, in_order: bool) -> None:
        self._client = None
        if self._archive is not None:
            self._archive.broker_is_gone(in_order=in_order)
            self._archive = None
