"""An import from its beginning, or from where it was, to its version. `run_import` has its steps in order."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pyarrow as pa

from headrace.batch.work import Work
from headrace.datasets.catalogue import Catalogue
from headrace.datasets.errors import BadInput
from headrace.datasets.importing.checking import RowCheck
from headrace.datasets.importing.job import Files, ImportJob, Query, Split, Summary, Topic
from headrace.datasets.importing.plan import Plan, settled
from headrace.datasets.importing.splitting import LEFT_OUT, Splitting
from headrace.datasets.importing.telling import BadRows, Observer
from headrace.datasets.manifest import Holds, Manifest, Source, SourceKind
from headrace.datasets.opening import Access
from headrace.datasets.reading.files import columns_of, open_files
from headrace.datasets.reading.port import Facts, Input, Opening, Read
from headrace.datasets.reading.query import QueryTable
from headrace.datasets.reading.topic import KEY, TopicTable, holds
from headrace.datasets.using.opened import OpenSet
from headrace.datasets.using.times import check_time
from headrace.datasets.writing.parquet import SetWriter
from headrace.datasets.writing.version import Draft, make_version
from headrace.jobs.child import Stopped
from headrace.model.pipeline import load_pipeline


def run_import(job: ImportJob, access: Access, observer: Observer, stop: threading.Event) -> Summary:
    """Do an import, or what is left of it.

    1. Take the import's folder: one process at a time.
    2. Fix what it reads: offsets, versions of other sets.
    3. Read, check and write files into its folder; rows that do not fit are listed.
    4. Make the version (`make_version`): files, manifest, event.

    Until the manifest is there nothing is; an import that died begins at 2 with what was fixed, or, where its manifest
    is there, with the event.

    Raises:
        ConfigError: something asked for is wrong, or the input cannot be read right.
        TooManyBadRows: more rows do not fit than are allowed.
        DependencyError: Kafka or the store fail.
        Stopped: `stop` was set.
    """
    started = time.monotonic()
    work = Work(job.path)
    try:
        done = _made(job, access.catalogue)
        if done is None:
            plan = settled(job, access.catalogue, access.settings, time.time_ns() // 1000)
            with closing(_Import(job, plan, access, observer, stop)) as running:
                summary = running.run()
        else:
            for manifest in done:
                access.announcer.announce(manifest)
            summary = _summary(done, done[0].bad_rows)
    finally:
        work.close()
    return msgspec.structs.replace(summary, seconds=round(time.monotonic() - started, 3))


def _outputs(job: ImportJob) -> list[tuple[str, str]]:
    """Name and import id of each set that is made."""
    if isinstance(job.source, Split):
        return [(f"{job.name}-{part}", f"{job.id}-{part}") for part in job.source.shares]
    return [(job.name, job.id)]


def _made(job: ImportJob, catalogue: Catalogue) -> list[Manifest] | None:
    """What an earlier run of the import has made, if that is all of it."""
    found = [catalogue.made_by(name, import_id) for name, import_id in _outputs(job)]
    whole = [manifest for manifest in found if manifest is not None]
    return whole if len(whole) == len(found) else None


def _summary(made: list[Manifest], bad_rows: int, left_out: int = 0) -> Summary:
    rows = {manifest.set: manifest.rows for manifest in made}
    return Summary(sets=list(rows), rows=rows, bad_rows=bad_rows, left_out=left_out)


class _Import:
    """One run of an import."""

    def __init__(self, job: ImportJob, plan: Plan, access: Access, observer: Observer, stop: threading.Event) -> None:
        self._job, self._plan, self._access, self._catalogue = job, plan, access, access.catalogue
        self._observer, self._stop = observer, stop
        self._bad = BadRows(job, observer)
        self._pipeline = load_pipeline(job.pipeline) if job.holds else None
        self._check = RowCheck(self._pipeline, job.holds) if self._pipeline is not None else None

    def close(self) -> None:
        """Write the list of bad rows."""
        self._bad.close()

    def run(self) -> Summary:
        if isinstance(self._job.source, Split):
            return self._split(self._job.source)
        self._observer.phase("reading", 0)
        source = self._input()
        if self._check is not None:
            self._check.check_columns(source.schema.names, self._where(source.facts))
        writer = SetWriter(self._folder("files"), source.schema)
        self._observer.phase("writing", source.total)
        for read in self._rows(source):
            self._tick(read.rows.num_rows)
            writer.write(read.rows)
        self._bad.check()
        files = writer.finish()
        manifest = self._manifest(self._job.name, self._job.id, source.facts, writer)
        return _summary([self._make(Draft(manifest, files))], self._bad.count)

    def _rows(self, source: Input) -> Iterator[Read]:
        for read in source.read():
            yield from [read] if self._check is None else self._check.checked(read, self._bad.add)

    def _input(self) -> Input:
        opening = Opening(self._job.form, self._folder("work"), self._bad.add, tick=self._tick)
        sets = {table: OpenSet.of(self._catalogue, name) for table, name in self._plan.sets.items()}
        match self._job.source:
            case Topic(topic):
                return TopicTable(self._access.settings, topic, self._plan.starts, self._plan.ends, opening)
            case Query(query):
                return QueryTable(query, sets, opening.work, self._job.memory)
            case Files(paths, names):
                return open_files(paths, self._checked(opening, paths, names), names)
        raise TypeError(type(self._job.source).__name__)

    def _checked(self, opening: Opening, paths: list[str], names: dict[str, str]) -> Opening:
        """How files are opened whose rows are to be records of the pipeline."""
        if self._check is None:
            return opening
        columns = columns_of(paths, opening)
        shown = names.get(paths[0], paths[0])
        is_text = not paths[0].lower().endswith((".jsonl", ".ndjson", ".json", ".parquet", ".pq"))
        return Opening(
            opening.form, opening.work, opening.on_bad, tick=opening.tick, check=self._check.line,
            forced=self._check.types if is_text else {}, renamed=self._check.renamed(shown, columns) if is_text else {},
        )  # fmt: skip

    def _split(self, split: Split) -> Summary:
        parent = OpenSet.of(self._catalogue, self._plan.sets[""])
        splitting = Splitting(split, parent)
        outputs = _outputs(self._job)
        folders = [self._folder(part) for part in splitting.parts]
        writers = [SetWriter(folder, splitting.schema) for folder in folders]
        self._observer.phase("writing", parent.manifest.rows)
        left_out = 0
        for assigned in splitting.assigned():
            self._tick(assigned.rows.num_rows)
            left_out += int((assigned.parts == LEFT_OUT).sum())
            for number, writer in enumerate(writers):
                writer.write(assigned.rows.filter(pa.array(assigned.parts == number)))
        files = [writer.finish() for writer in writers]
        if empty := [called for (called, _), writer in zip(outputs, writers, strict=True) if not writer.rows]:
            raise BadInput(f"{', '.join(empty)} would have no rows", hint="larger shares, or another column")
        made = []
        for (called, import_id), writer, written, part in zip(outputs, writers, files, splitting.parts, strict=True):
            details = {**msgspec.to_builtins(split), "part": part, "cuts": splitting.cuts.times, "left_out": left_out}
            details |= {"set": parent.manifest.set, "column": splitting.column, "label_time": splitting.label_time}
            own = parent.manifest
            facts = Facts(details, own.encoding, [own.set], own.time, own.label_time, own.key)
            draft = self._manifest(called, import_id, facts, writer)
            draft = msgspec.structs.replace(draft, holds=own.holds, metadata={**own.metadata, **self._job.metadata})
            made.append(self._make(Draft(draft, written)))
        return _summary(made, 0, left_out)

    def _make(self, draft: Draft) -> Manifest:
        return make_version(self._catalogue, self._access.announcer, draft, lambda step: self._observer.phase(step, 0))

    def _manifest(self, name: str, import_id: str, facts: Facts, writer: SetWriter) -> Manifest:
        job, kinds = self._job, {Topic: "topic", Query: "query", Split: "split", Files: "file"}
        kind: SourceKind = kinds[type(job.source)]  # type: ignore[assignment]
        held: Holds = holds(job.source.topic) if isinstance(job.source, Topic) else ""  # type: ignore[assignment]
        key = job.key or facts.key or (self._pipeline.model.key if self._pipeline else KEY if kind == "topic" else "")
        at, label_at = job.time or facts.time, job.label_time or facts.label_time
        where = self._where(facts)
        for column in (at, label_at):
            if column:
                check_time(writer.schema, column, where)
        if key and key not in writer.schema.names:
            raise BadInput(f"{where}: no column {key!r}", hint=f"there is {', '.join(writer.schema.names[:30])}")
        columns = writer.facts
        span = next(([str(c.min), str(c.max)] for c in columns if c.name == at and c.min is not None), [])
        return Manifest(
            name=name, version=0, created_us=self._plan.created_us, import_id=import_id,
            source=Source(kind=kind, details=facts.details), holds=job.holds or held, encoding=facts.encoding,
            metadata=job.metadata, parents=facts.parents, columns=columns, rows=writer.rows, size=writer.size,
            bad_rows=self._bad.count, time_range=span, files=[], key=key,
            time=at, label_time=label_at,
        )  # fmt: skip

    def _where(self, facts: Facts) -> str:
        match self._job.source:
            case Files():
                return str(facts.details["files"][0]["file"])
            case Topic(topic):
                return topic
            case Query():
                return "the query"
            case Split(set=name):
                return name

    def _folder(self, name: str) -> Path:
        folder = self._job.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _tick(self, rows: int) -> None:
        if self._stop.is_set():
            raise Stopped("stopped", hint="nothing was made")
        self._observer.rows(rows)
