"""From a request to a job: its options, its files, and the digest by which the same request is known again."""

import hashlib
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from headrace.batch.job import COMPRESSED, Job, Kind, kind_of
from headrace.batch.run import default_workers
from headrace.jobs.errors import BadRequestError, TooLargeError
from headrace.jobs.records import Folder
from headrace.replay.text import FileFormat
from headrace.runtime.errors import ConfigError
from services.batch.inputs import allowed_files
from services.batch.records import BatchRecord, output_name
from services.batch.settings import BatchSettings

_BY_MEDIA = {
    "text/csv": "csv", "text/tab-separated-values": "tsv", "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl", "application/vnd.apache.parquet": "parquet",
}  # fmt: skip
_MOST_INPUTS = 1000


class Options(NamedTuple):
    """What a request asks for beside the files."""

    output: Kind
    version: int | None
    columns: str | None
    delimiter: str | None
    encoding: str | None
    max_bad_rows: int | None


class Inputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The names of files, or a data set."""

    inputs: list[str] = []
    dataset: str = ""


def inputs_in(body: bytes) -> Inputs:
    """What a request's JSON names.

    Raises:
        BadRequestError: it is not of this form.
    """
    try:
        found = msgspec.json.decode(body, type=Inputs)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequestError(f'expected {{"inputs": ["..."]}} or {{"dataset": "..."}}: {error}') from None
    if found.dataset:
        if found.inputs:
            raise BadRequestError("inputs and dataset exclude each other")
    elif not 1 <= len(found.inputs) <= _MOST_INPUTS:
        raise BadRequestError(f"inputs: expected 1 to {_MOST_INPUTS} names, got {len(found.inputs)}")
    return found


def input_name(given: str, media: str) -> str:
    """The name under which an uploaded file is kept: it says what it is.

    Raises:
        BadRequestError: neither the query nor the content type says a kind that is known.
    """
    kind = given or _BY_MEDIA.get(media.partition(";")[0].strip().lower(), "")
    name = f"upload.{kind}"
    try:
        kind_of(Path(name))
        good = kind.replace(".", "").isalnum() and not kind.startswith(".")
    except ConfigError:
        good = False
    if not good:
        raise BadRequestError(
            "what is the body? ?input=parquet, csv, tsv or jsonl, text also compressed: "
            + ", ".join(f"csv{suffix}" for suffix in COMPRESSED)
        )
    return name


class Submission:
    """Makes records of requests."""

    def __init__(self, settings: BatchSettings, pipeline: Path, folder: Folder[BatchRecord]) -> None:
        self.max_upload_bytes = settings.max_upload_bytes
        self._settings, self._pipeline, self._folder = settings, pipeline, folder

    def new(self, options: Options, key: str) -> BatchRecord:
        """A record without files.

        Raises:
            ConfigError: an option is wrong.
            BadRequestError: a version is asked for where the service has weights from a file.
        """
        if options.version is not None and self._settings.weights is not None:
            raise BadRequestError("this service uses weights from a file: there is no version to choose")
        job_id = self._folder.new_id()
        columns = options.columns
        job = Job(
            pipeline=str(self._pipeline.resolve()),
            inputs=[],
            output=str(self._folder.of(job_id).resolve() / output_name(options.output)),
            version=options.version,
            weights=str(self._settings.weights.resolve()) if self._settings.weights else "",
            columns=None if columns is None else [name.strip() for name in columns.split(",") if name.strip()],
            form=FileFormat.of(options.delimiter, options.encoding),
            max_bad_rows=options.max_bad_rows,
            workers=self._settings.job_workers or default_workers(),
        )
        return BatchRecord(
            id=job_id,
            job=job,
            output=options.output,
            key=key,
            request=_digest(*map(str, options)),
            submitted_us=time.time_ns() // 1000,
        )

    def by_path(self, record: BatchRecord, names: list[str]) -> BatchRecord:
        """The record with files of the host.

        Raises:
            JobError: they may not be read, or there are none.
        """
        files = allowed_files(self._settings.input_dir, names, self._settings.max_input_bytes)
        return self._with(record, files, _digest(*names))

    def by_dataset(self, record: BatchRecord, name: str) -> BatchRecord:
        """The record with a data set's files, verified.

        Raises:
            ConfigError: there is no such set.
            DataError: it is damaged.
            TooLargeError: it is too large.
        """
        from headrace.datasets.opening import open_catalogue
        from headrace.datasets.using.opened import OpenSet

        opened = OpenSet.of(open_catalogue(self._settings), name)
        if opened.manifest.size > self._settings.max_input_bytes:
            raise TooLargeError(
                f"{name} has {opened.manifest.size} bytes; {self._settings.max_input_bytes} are allowed"
            )
        record.job = msgspec.structs.replace(record.job, dataset=opened.manifest.reference)
        return self._with(record, [str(path.resolve()) for path in opened.paths()], _digest(opened.manifest.digest))

    def by_upload(self, record: BatchRecord, file: Path, digest: str) -> BatchRecord:
        """The record with the file that was uploaded."""
        return self._with(record, [str(file.resolve())], _digest(file.name, digest))

    def _with(self, record: BatchRecord, files: list[str], said: str) -> BatchRecord:
        record.job = msgspec.structs.replace(record.job, inputs=files)
        record.request = _digest(record.request, said)
        return record


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).hexdigest()
