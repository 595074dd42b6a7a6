"""Which files of the host a job may read: those below one folder, wherever names, patterns and links lead."""

import glob
from collections.abc import Sequence
from pathlib import Path

from headrace.jobs.errors import BadRequestError, ForbiddenError, TooLargeError

_MOST = 100_000


def allowed_files(root: Path | None, given: Sequence[str], most_bytes: int) -> list[str]:
    """The files that the names, folders and patterns mean, resolved. They are relative to `root`.

    Raises:
        ForbiddenError: no folder is allowed, or a path leads out of it.
        BadRequestError: there is no such file.
        TooLargeError: they are too large, or too many.
    """
    home, found = _home(root), dict[str, int]()
    for name in given:
        try:
            matches = _matches(home, name)
        except OSError as error:
            raise BadRequestError(f"{name[:100]!r}: {error.strerror}") from None
        for path in matches:
            found[str(path)] = path.stat().st_size
            if len(found) > _MOST:
                raise TooLargeError(f"more than {_MOST} files")
    if not found:
        raise BadRequestError("no input file")
    if sum(found.values()) > most_bytes:
        raise TooLargeError(f"the files have {sum(found.values())} bytes; {most_bytes} are allowed")
    return list(found)


def allowed_file(root: Path | None, name: str) -> str:
    """The file of exactly this name, relative to `root`, resolved.

    Raises:
        ForbiddenError: no folder is allowed, or the path leads out of it.
        BadRequestError: there is no such file.
    """
    home = _home(root)
    path = _inside(home, name)
    try:
        found, resolved = path.is_file(), path.resolve()
    except OSError as error:
        raise BadRequestError(f"{name[:100]!r}: {error.strerror}") from None
    if not resolved.is_relative_to(home):
        raise _outside(name)
    if not found:
        raise BadRequestError(f"{name!r}: no such file")
    return str(resolved)


def _home(root: Path | None) -> Path:
    if root is None:
        raise ForbiddenError("this service reads no files by path (--input-dir allows a folder)")
    return root.resolve()


def _outside(name: str) -> ForbiddenError:
    return ForbiddenError(f"{name!r}: outside of the folder that jobs may read")


def _inside(home: Path, name: str) -> Path:
    """By name; where links lead is seen later."""
    path = home / name
    if "\0" in name or ".." in Path(name).parts or not path.is_relative_to(home):
        raise _outside(name)
    return path


def _matches(home: Path, name: str) -> list[Path]:
    path = _inside(home, name)
    if path.is_dir():
        matches = sorted(p for p in path.rglob("*") if p.is_file())
    elif path.exists():
        matches = [path]
    else:
        matches = sorted(p for p in map(Path, glob.iglob(str(path), recursive=True)) if p.is_file())  # noqa: PTH207
    resolved = [match.resolve() for match in matches]
    if any(not match.is_relative_to(home) for match in [path.resolve(), *resolved]):
        raise _outside(name)
    if not resolved:
        raise BadRequestError(f"{name!r}: no such file")
    return [match for match in resolved if match.is_file()]
