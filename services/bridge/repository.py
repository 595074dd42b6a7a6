"""Triton's model repository: `<repository>/<model>/config.pbtxt` and `<repository>/<model>/<version>/`.

A version's folder is written under a temporary name, synced and renamed, so that Triton finds it whole or not at all.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from headrace.runtime.files import sync_folder

_TEMPORARY = ".tmp-"


class Repository:
    """One model's part of a repository. One bridge may write to it at a time."""

    def __init__(self, root: Path, model: str) -> None:
        self.folder = root / model
        self._config = self.folder / "config.pbtxt"

    def open(self) -> None:
        """Make the folder, and remove what a bridge that died left half written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def versions(self) -> list[int]:
        """The versions that are there, ascending."""
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def checkpoint(self, version: int) -> str:
        """The checkpoint whose files a version's folder holds; "" if there is none."""
        try:
            known = json.loads((self.folder / str(version) / "checkpoint.json").read_text())
        except FileNotFoundError:
            return ""
        return str(known["checkpoint"])

    def put(self, version: int, files: Mapping[str, bytes]) -> None:
        """Write a version's folder, in the place of one of that number."""
        temporary, final = self.folder / f"{_TEMPORARY}{version}", self.folder / str(version)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, content in files.items():
            _write(temporary / name, content)
        if final.exists():
            gone = self.folder / f"{_TEMPORARY}gone-{version}"
            final.rename(gone)
            temporary.rename(final)
            shutil.rmtree(gone)
        else:
            temporary.rename(final)
        sync_folder(self.folder)

    def config(self) -> str:
        """config.pbtxt as it is; "" if there is none."""
        return self._config.read_text() if self._config.exists() else ""

    def configure(self, config: str) -> None:
        """Replace config.pbtxt; "" removes it."""
        if not config:
            self._config.unlink(missing_ok=True)
            return
        temporary = self.folder / f"{_TEMPORARY}config.pbtxt"
        _write(temporary, config.encode())
        temporary.replace(self._config)
        sync_folder(self.folder)

    def remove(self, version: int) -> None:
        """Remove a version's folder, if it is there."""
        shutil.rmtree(self.folder / str(version), ignore_errors=True)

    def prune(self, keep: int, served: int) -> list[int]:
        """Remove all but the newest ``keep`` versions, the served one being among those that stay; return what went."""
        others = [version for version in self.versions() if version != served]
        gone = others[: max(0, len(others) - (keep - 1))]
        for version in gone:
            self.remove(version)
        return gone


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
