"""Data sets in a temporary folder, without a broker."""

import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.datasets.announcing import MemoryAnnouncer
from headrace.datasets.catalogue import Catalogue
from headrace.datasets.importing.job import Files, From, ImportJob, Summary
from headrace.datasets.importing.run import run_import
from headrace.datasets.importing.telling import Silent
from headrace.datasets.opening import Access
from headrace.datasets.storing.folder import FolderStore
from headrace.datasets.storing.port import SetStore
from headrace.datasets.using.opened import OpenSet
from headrace.model.source import BadRow
from headrace.runtime.settings import ServiceSettings


class Told(Silent):
    """Keeps the bad rows."""

    def __init__(self) -> None:
        self.bad_rows: list[BadRow] = []

    def bad(self, row: BadRow, count: int) -> None:
        self.bad_rows.append(row)


class Sets:
    """A store, and imports into it."""

    def __init__(self, folder: Path, store: SetStore | None = None) -> None:
        self.folder = folder
        self.announcer = MemoryAnnouncer()
        self.catalogue = Catalogue(store or FolderStore(folder / "sets"))
        self.settings = ServiceSettings(storage_dir=folder, run_dir=folder)
        self.access = Access(self.catalogue, self.announcer, self.settings)
        self.told = Told()

    def job(self, name: str, source: From, job_id: str = "", **asked: Any) -> ImportJob:
        made = job_id or uuid.uuid4().hex
        return ImportJob(id=made, name=name, folder=str(self.folder / "work" / made), source=source, **asked)

    def run(self, job: ImportJob) -> Summary:
        self.told = Told()
        return run_import(job, self.access, self.told, threading.Event())

    def take(self, name: str, source: From, **asked: Any) -> Summary:
        return self.run(self.job(name, source, **asked))

    def csv(self, name: str, text: str, **asked: Any) -> Summary:
        path = self.folder / f"{uuid.uuid4().hex}.csv"
        path.write_text(text)
        return self.take(name, Files([str(path)], {str(path): f"{name}.csv"}), **asked)

    def open(self, name: str) -> OpenSet:
        return OpenSet.of(self.catalogue, name)

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [row for batch in self.open(name).batches() for row in batch.to_pylist()]

    def column(self, name: str, column: str) -> list[Any]:
        return [row[column] for row in self.rows(name)]


def lines(header: str, rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"
