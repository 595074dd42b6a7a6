"""The port through which a set's files and manifests are kept. Names are paths with slashes, below the sets' root."""

from pathlib import Path
from typing import Protocol


class SetStore(Protocol):
    """Keeps whole files. All methods raise DependencyError where the store does not answer or refuses."""

    name: str

    def put(self, path: str, file: Path) -> None:
        """Keep a copy of a local file under this path; durable when it returns. One that is there is replaced."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Keep `data` under this path unless something is there; whether it did. Whole and durable, or not at all."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Keep `data` under this path; whole and durable when it returns. What is there is replaced."""
        ...

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def local(self, path: str, size: int, sha256: str) -> Path:
        """A local file of these bytes, verified; whoever opens it at once may go on with it.

        Raises:
            DamagedSet: it is not there, or its bytes have another length or digest.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """The names directly within a folder, sorted; none if there is no such folder."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or a folder with all that is in it; one that is not there is no error."""
        ...

    def age_s(self, path: str) -> float:
        """Seconds since a file, or anything in a folder, was last written; 0 if there is none."""
        ...
