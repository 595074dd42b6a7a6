"""From a request's JSON to an import."""

import hashlib
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.datasets.form import Form
from headrace.datasets.importing.job import Files, From, ImportJob, Query, Split, Topic
from headrace.datasets.manifest import Holds
from headrace.datasets.names import check_name
from headrace.jobs.errors import BadRequestError, ForbiddenError
from headrace.jobs.records import Folder
from headrace.runtime.errors import ConfigError
from services.datasets.records import ImportRecord
from services.datasets.settings import DatasetsSettings
from services.datasets.uploads import Uploads, check_kind


class FromRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One of an upload's id, a file of the service's folder, a topic, a query."""

    upload: str = ""
    file: str = ""
    topic: str = ""
    start: str = "earliest"
    end: str = "latest"
    query: str = ""
    sets: dict[str, str] = {}


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may be asked for: see `headrace.datasets.importing.job.ImportJob`."""

    from_: FromRequest = msgspec.field(name="from")
    as_: Holds = msgspec.field(default="", name="as")
    key: str = ""
    time: str = ""
    label_time: str = ""
    metadata: dict[str, str] = {}
    format: Form = msgspec.field(default_factory=Form)
    max_bad_rows: int = 0


class SplitRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How a set is to be cut: see `headrace.datasets.importing.job.Split`."""

    by: Literal["time", "key"]
    shares: dict[str, float]
    name: str = ""
    column: str = ""
    label_time: str = ""
    group: str = ""
    seed: int = 0
    metadata: dict[str, str] = {}


class Submission:
    """Makes records of requests. `begin` makes the folder, which whoever submits removes where that fails."""

    def __init__(self, settings: DatasetsSettings, folder: Folder[ImportRecord], uploads: Uploads) -> None:
        self._settings, self._folder, self.uploads = settings, folder, uploads
        self._pipeline = str(settings.pipeline.resolve()) if settings.pipeline is not None else ""

    def importing(self, name: str, body: bytes, key: str) -> tuple[ImportRecord, str]:
        """A record for an import, and the upload that it takes, or "".

        Raises:
            JobError, ConfigError: it cannot be done.
        """
        asked: Request = _decoded(body, Request)
        return self._new(name, asked, key, hashlib.sha256(body).hexdigest()), asked.from_.upload

    def splitting(self, set_name: str, name: str, body: bytes, key: str) -> ImportRecord:
        """A record for a split of `name@version`, the set `name`.

        Raises:
            JobError, ConfigError: it cannot be done.
        """
        asked: SplitRequest = _decoded(body, SplitRequest)
        source = Split(
            set=set_name, by=asked.by, shares=asked.shares, column=asked.column, label_time=asked.label_time,
            group=asked.group, seed=asked.seed,
        )  # fmt: skip
        digest = hashlib.sha256(set_name.encode() + body).hexdigest()
        return self._record(asked.name or name, source, key, digest, metadata=asked.metadata)

    def watched(self, name: str, path: Path, key: str) -> ImportRecord:
        """A record for a file of the watched folder."""
        record = self._record(
            name, Files([str(path)], {str(path): path.name}), key, hashlib.sha256(key.encode()).hexdigest()
        )
        record.watched = str(path)
        return record

    def with_upload(self, record: ImportRecord, upload: str) -> ImportRecord:
        """The record with an upload's file, which is now in its folder.

        Raises:
            JobError: there is no such upload, or it is not whole.
        """
        path, found = self.uploads.take(upload, self._folder.of(record.id))
        source = Files([str(path)], {str(path): found.filename})
        record.job = msgspec.structs.replace(record.job, source=source)
        return record

    def _new(self, name: str, asked: Request, key: str, digest: str) -> ImportRecord:
        given = asked.from_
        if sum(map(bool, (given.upload, given.file, given.topic, given.query))) != 1:
            raise BadRequestError("from: expected one of upload, file, topic, query")
        if asked.as_ and not self._pipeline:
            raise BadRequestError("as: this service has no pipeline whose types could be checked")
        source: From = Files([])
        if given.file:
            path = self._file(given.file)
            source = Files([str(path)], {str(path): given.file})
        elif given.topic:
            source = Topic(given.topic, given.start, given.end)
        elif given.query:
            source = Query(given.query, given.sets)
        elif given.upload:
            self.uploads.get(given.upload)
        return self._record(
            name, source, key, digest, form=asked.format, holds=asked.as_, key_column=asked.key, time_column=asked.time,
            label_time=asked.label_time, metadata=asked.metadata, max_bad_rows=asked.max_bad_rows,
        )  # fmt: skip

    def _record(
        self,
        name: str,
        source: From,
        key: str,
        digest: str,
        *,
        key_column: str = "",
        time_column: str = "",
        **fields: Any,
    ) -> ImportRecord:
        job_id = self._folder.new_id()
        job = ImportJob(
            id=job_id, name=check_name(name), folder=str(self._folder.of(job_id).resolve()), source=source,
            pipeline=self._pipeline, key=key_column, time=time_column, memory=self._settings.query_memory, **fields,
        )  # fmt: skip
        return ImportRecord(id=job_id, job=job, key=key, request=digest, submitted_us=time.time_ns() // 1000)

    def _file(self, name: str) -> Path:
        root = self._settings.input_dir
        if root is None:
            raise ForbiddenError("this service reads no files by path: upload them (--input-dir allows a folder)")
        path = (root / name).resolve() if "\0" not in name else root.parent
        if not path.is_relative_to(root.resolve()):
            raise ForbiddenError(f"{name[:100]!r}: outside of the folder that imports may read")
        try:
            found = path.is_file()
        except OSError as error:
            raise BadRequestError(f"{name[:100]!r}: {error.strerror}") from None
        if not found:
            raise BadRequestError(f"{name[:100]!r}: no such file")
        check_kind(path.name)
        return path


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise BadRequestError(str(error)) from None
