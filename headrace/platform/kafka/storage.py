"""Formatting a broker's data folder. Kafka's own tool does it once a version; each run copies the result.

`StorageTool format` takes a second of Java for two small files: `bootstrap.checkpoint`, the same for every cluster of a
version (feature levels), which is kept in the cache; and `meta.properties` with the ids, which is written here.
"""

import base64
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from headrace.platform.files import write_atomic
from headrace.platform.kafka.config import NODE_ID, as_properties, broker_config
from headrace.platform.kafka.jar_cache import locked
from headrace.platform.kafka.java import Java
from headrace.runtime.errors import PlatformError

_META = "meta.properties"
_BOOTSTRAP = "bootstrap.checkpoint"


def kafka_uuid() -> str:
    """A random id as Kafka writes them.

    16 bytes in 22 characters, never starting with a dash (tools take that for a flag).
    """
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def format_storage(data: Path, cache: Path, java: Java, classpath: str) -> str:
    """Make `data` a new cluster's folder, unless it is one already; its cluster id.

    Raises:
        PlatformError: Kafka's tool failed; with what it said.
    """
    known = cluster_id(data)
    if known is not None:
        return known
    template = cache / _BOOTSTRAP
    if not template.is_file():
        with locked(cache / ".lock"):
            if not template.is_file():
                _make_template(template, java, classpath)
    data.mkdir(parents=True, exist_ok=True)
    write_atomic(data / _BOOTSTRAP, template.read_bytes())
    ids = {"version": "1", "cluster.id": kafka_uuid(), "node.id": str(NODE_ID), "directory.id": kafka_uuid()}
    write_atomic(data / _META, as_properties(ids).encode())  # last: it is what marks the folder as formatted
    return ids["cluster.id"]


def cluster_id(data: Path) -> str | None:
    """The cluster that `data` belongs to; None if it is not formatted."""
    try:
        lines = (data / _META).read_text().splitlines()
    except FileNotFoundError:
        return None
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("cluster.id")


def _make_template(template: Path, java: Java, classpath: str) -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-format-") as folder:
        data, config = Path(folder) / "data", Path(folder) / "server.properties"
        config.write_text(as_properties(broker_config(data, 9092, 9093)))
        command = [str(java.path), "-XX:TieredStopAtLevel=1", "-cp", classpath, "kafka.tools.StorageTool"]
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, "format", "--cluster-id", kafka_uuid(), "--config", str(config)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode != 0 or not (data / _BOOTSTRAP).is_file():
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise PlatformError(f"formatting Kafka's storage failed with exit code {done.returncode}:\n{said}")
        copy = template.with_suffix(".part")
        shutil.copyfile(data / _BOOTSTRAP, copy)
        copy.replace(template)
