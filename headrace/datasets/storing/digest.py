"""Digests of files, and the check against them."""

import hashlib
from pathlib import Path

from headrace.datasets.errors import DamagedSet


def sha256_of(path: Path) -> str:
    """The hex SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, size: int, sha256: str, where: str) -> None:
    """Raise `DamagedSet` unless the local file has these bytes; `where` is what people know it as."""
    hint = "restore it from a backup, or import the data again as a new version"
    try:
        found = path.stat().st_size
        if found != size:
            raise DamagedSet(f"{where}: {found} bytes, its manifest says {size}", hint=hint)
        if (digest := sha256_of(path)) != sha256:
            raise DamagedSet(f"{where}: its SHA-256 is {digest}, its manifest says {sha256}", hint=hint)
    except OSError as error:
        raise DamagedSet(f"{where}: {(error.strerror or str(error)).lower()}", hint=hint) from error
