"""Which code a pipeline's folder holds: a digest, and the commit where it is in a git work tree."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".py", ".yaml", ".yml")
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
    """In an order that does not depend on the file system; hidden folders and caches are left out."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder).parts
        hidden = any(part.startswith((".", "__pycache__")) for part in inner)
        if path.suffix in SUFFIXES and not hidden and path.is_file():
            yield path


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
