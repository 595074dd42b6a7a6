"""Which code a pipeline's folder holds: a digest, and the commit where it is in a git work tree."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".py", ".yaml", ".yml")
_LEFT_OUT = (".", "__pycache__")
_GIT_S = 5.0


def code_digest(folder: Path) -> str:
    """32 hex characters of the names and bytes of the Python and YAML files in a folder and its subfolders."""
    digest = hashlib.blake2b(digest_size=16)
    for path in _files(folder):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """In an order that does not depend on the file system; hidden ones and caches are left out, and not looked into."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(_LEFT_OUT)]
        found += [Path(parent, name) for name in names if not name.startswith(_LEFT_OUT)]
    return (path for path in sorted(found) if path.suffix in SUFFIXES and path.is_file())


def commit_of(folder: Path) -> str:
    """The commit of the work tree that the folder is in, with `+` where the folder has changes; "" without one."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return ""
    changed = _git(folder, "status", "--porcelain", "--", ".")
    return f"{head}+" if changed else head


def _git(folder: Path, *arguments: str) -> str:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
