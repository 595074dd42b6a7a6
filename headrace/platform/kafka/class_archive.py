"""A class archive (AppCDS) for the JVM.

A broker starts with 2.5 s of processor time instead of 5 s, and nobody waits for it.

1. The first broker of a cache lists the classes that it loads; the list is kept when that broker has stopped in order.
2. Beside a later broker, at the lowest priority, Java makes the archive from the list. 3. From then on every broker
starts from the archive. The JVM checks that it fits the jars and itself, and goes without if not.
"""

import contextlib
import hashlib
import subprocess
import threading
from pathlib import Path

from headrace.platform import process
from headrace.platform.files import write_atomic
from headrace.platform.kafka.java import Java


class ClassArchive:
    """The archive of one Java and one classpath, in the cache `cache`; `folder` is the broker's own."""

    def __init__(self, cache: Path, java: Java, classpath: str, folder: Path) -> None:
        java_path = java.path.resolve()
        identity = f"{java_path} {java_path.stat().st_mtime_ns} {java.major} {classpath}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.path = cache / f"classes-{key}.jsa"
        self.list = cache / f"classes-{key}.lst"
        self._java, self._classpath, self._folder = java, classpath, folder
        self._own_list = folder / "classes.lst"
        self._maker: subprocess.Popen[bytes] | None = None

    def flags(self) -> list[str]:
        """What to start the broker with."""
        self._own_list.unlink(missing_ok=True)
        if self.path.is_file():
            return [f"-XX:SharedArchiveFile={self.path}"]
        return [] if self.list.is_file() else [f"-XX:DumpLoadedClassList={self._own_list}"]

    def broker_is_ready(self) -> None:
        """Begin to make the archive, if its list is there and it is not."""
        if self.path.is_file() or not self.list.is_file():
            return
        part = self._folder / "classes.jsa"
        java = [
            str(self._java.path),
            "-Xshare:dump",
            f"-XX:SharedClassListFile={self.list}",
            f"-XX:SharedArchiveFile={part}",
        ]
        command = ["nice", "-n", "19", *java, "-cp", self._classpath]
        self._maker = process.spawn(command, self._folder / "classes.log")
        threading.Thread(target=self._keep, args=(self._maker, part), name="class-archive", daemon=True).start()

    def _keep(self, maker: subprocess.Popen[bytes], part: Path) -> None:
        made = maker.wait() == 0
        with contextlib.suppress(OSError):  # no room for it: starts stay as slow as they are
            if made:
                copy = self.path.with_suffix(f".{maker.pid}.part")
                copy.write_bytes(part.read_bytes())
                copy.replace(self.path)
            part.unlink(missing_ok=True)

    def broker_is_gone(self, *, in_order: bool) -> None:
        """End what is unfinished; keep the list that a broker wrote, if it came to its end."""
        if self._maker is not None and self._maker.poll() is None:
            process.stop(self._maker, 0)
        self._maker = None
        with contextlib.suppress(OSError):
            if in_order and not self.list.is_file() and self._own_list.is_file():
                write_atomic(self.list, self._own_list.read_bytes())
            self._own_list.unlink(missing_ok=True)
