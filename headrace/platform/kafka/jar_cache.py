"""The per-user cache of jars: filled in parallel, verified always, usable offline once full.

What a reader may rely on: a jar under its own name is complete and verified by whoever put it there (a temporary file,
digest, fsync, rename), and `ensure` verifies it again. A run that is cut off leaves the finished jars; the next one
fetches the rest.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from headrace.platform.kafka.jars import Jar
from headrace.runtime.errors import PlatformError
from headrace.runtime.files import sync_folder

CACHE_VARIABLE = "HEADRACE_CACHE"
PARALLEL = 8
ATTEMPTS = 3
_SPARE = 16 << 20  # bytes to leave free beside the jars


class FetchError(PlatformError):
    """A jar could not be fetched this time; trying again may help."""


class Fetch(Protocol):
    """Where jars come from."""

    def __call__(self, jar: Jar) -> Iterable[bytes]:
        """The jar's bytes, piece by piece.

        Raises:
            FetchError: they cannot be had; also while iterating.
        """
        ...


class Progress(Protocol):
    """Who is told how far the fetching is."""

    def start(self, files: int, size: int) -> None:
        """`files` jars of `size` bytes together are about to be fetched."""
        ...

    def advance(self, size: int) -> None:
        """`size` more bytes have arrived. Called from several threads."""
        ...

    def finish(self) -> None:
        """Nothing more will come; also after an error."""
        ...

    def note(self, text: str) -> None:
        """Something to tell meanwhile."""
        ...


def cache_root() -> Path:
    """`$HEADRACE_CACHE`, or `~/.cache/headrace` (`$XDG_CACHE_HOME` respected)."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "headrace"


def ensure(jars: Sequence[Jar], folder: Path, fetch: Fetch, progress: Progress, *, pause_s: float = 0.5) -> list[Path]:
    """The paths of all `jars` in `folder`, fetched where missing or damaged. One process fetches, others wait for it.

    Args:
        jars: what is needed.
        folder: the cache, made if need be.
        fetch: where missing ones come from.
        progress: told about the fetching, if there is any.
        pause_s: seconds before a second attempt, doubled before a third.

    Raises:
        PlatformError: no network and not cached, a digest that does not match, no disk space, an unwritable folder.
    """
    paths = [folder / jar.file_name for jar in jars]
    if not _missing(jars, folder):
        return paths
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", progress):
            missing = _missing(jars, folder)  # again: whoever held the lock may have fetched them
            if missing:
                _fetch_all(missing, folder, fetch, progress, pause_s)
    except OSError as error:
        raise PlatformError(
            f"cannot use the cache: {error}", hint=f"set {CACHE_VARIABLE} to a folder of yours"
        ) from error
    return paths


def _missing(jars: Iterable[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if not jar.is_intact(folder / jar.file_name)]


@contextlib.contextmanager
def locked(path: Path, progress: Progress | None = None) -> Iterator[None]:
    """Hold a lock between processes; it ends with its holder, so it is never stale."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress is not None:
                progress.note("waiting for another process that is filling the cache")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_all(jars: Sequence[Jar], folder: Path, fetch: Fetch, progress: Progress, pause_s: float) -> None:
    size = sum(jar.size for jar in jars)
    require_space(folder, size + _SPARE, "the jars of Kafka")
    for left in folder.glob("*.part"):  # of a run that was killed: we hold the lock, so nobody writes them
        left.unlink(missing_ok=True)
    progress.start(len(jars), size)
    pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="jars")
    try:
        for future in [pool.submit(_fetch_one, jar, folder, fetch, progress, pause_s) for jar in jars]:
            future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        progress.finish()
    sync_folder(folder)


def _fetch_one(jar: Jar, folder: Path, fetch: Fetch, progress: Progress, pause_s: float) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _store(jar, folder, fetch, progress)
        except FetchError as error:
            if attempt == ATTEMPTS:
                raise PlatformError(
                    f"cannot fetch {jar}: {error.message}",
                    hint=f"Kafka's jars are fetched once, into {folder}: check the network and the proxy settings, "
                    f"or point {CACHE_VARIABLE} at a filled cache, or KAFKA_BOOTSTRAP_SERVERS at a running broker",
                ) from error
            time.sleep(pause_s * 2 ** (attempt - 1))
        else:
            return


def _store(jar: Jar, folder: Path, fetch: Fetch, progress: Progress) -> None:
    part = folder / f"{jar.file_name}.{os.getpid()}.part"
    digest = hashlib.sha256()
    try:
        # 1. the bytes into a file of another name
        with part.open("wb") as file:
            for piece in fetch(jar):
                file.write(piece)
                digest.update(piece)
                progress.advance(len(piece))
            file.flush()
            # 2. refuse what is not the jar that was reviewed
            if digest.hexdigest() != jar.sha256:
                raise PlatformError(
                    f"{jar} has digest sha256:{digest.hexdigest()}, expected sha256:{jar.sha256}",
                    hint="it was refused: something between here and the repository alters files",
                )
            # 3. durable, 4. visible
            os.fsync(file.fileno())
        part.replace(folder / jar.file_name)
    finally:
        part.unlink(missing_ok=True)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Check that `needed` bytes fit into the file system of `folder`.

    Raises:
        PlatformError: they do not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PlatformError(
            f"{folder} has {free >> 20} MiB free; {what} need {needed >> 20} MiB", hint="free some disk space"
        )
