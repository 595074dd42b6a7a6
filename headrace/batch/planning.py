"""Settling a job: files, parts, columns that are carried, weights; and comparing it when it is resumed."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa

from headrace.batch import weights
from headrace.batch.engines.runner import open_reader
from headrace.batch.job import InputFile, Job, Kind, Part, Plan
from headrace.batch.predicting import check_columns, open_network, takes_columns
from headrace.batch.predictions import PredictionColumns
from headrace.batch.reading import parquet, text
from headrace.batch.reading.inputs import find_files, stat, unpacked
from headrace.batch.reading.plan import parquet_parts, text_parts
from headrace.model.pipeline import Pipeline
from headrace.replay.csv_header import Header, read_header
from headrace.replay.text import encoding_of
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings
from headrace.weights.format.chunks import digest_of

_SAID = {
    "input": "the input's files",
    "weights": "the version of the weights that is asked for",
    "code": "the pipeline's code",
    "options": "the options",
}


def summary_file(output: Path) -> Path:
    """Where the summary is."""
    return output.with_name(f"{output.name}.summary.json")


def rejected_file(output: Path) -> Path:
    """Where the rejected rows are, a JSON object a line."""
    return output.with_name(f"{output.name}.rejected.jsonl")


def outputs(output: Path) -> set[Path]:
    """All files that a job leaves."""
    return {path.resolve() for path in (output, summary_file(output), rejected_file(output))}


def identity(job: Job, pipeline: Pipeline) -> dict[str, str]:
    """What an unfinished job must have been begun with to be gone on with, by name.

    How many processes do it, and how many bad rows are allowed, may change.
    """
    files = [stat(path) for path in find_files(job.inputs, outputs(job.output_path))[1]]
    described = "\n".join(f"{file.path} {file.size} {file.mtime_ns}" for file in files)
    wanted = f"file {weights.file_digest(Path(job.weights))}" if job.weights else f"version {job.version or 'newest'}"
    options = (job.model, job.columns, job.form, job.batch_rows, job.part_rows, job.part_bytes, Path(job.output).name)
    code = sorted(path for path in pipeline.folder.rglob("*") if path.suffix in (".py", ".yaml"))
    return {
        "input": digest_of(described.encode()),
        "weights": wanted,
        "code": digest_of(b"".join(path.name.encode() + path.read_bytes() for path in code)),
        "options": digest_of(msgspec.json.encode(options)),
    }


def check_same(plan: Plan, now: Mapping[str, str], job: Job) -> None:
    """Raise `ConfigError` if the job is not the one that the plan was made for."""
    changed = [name for name, value in plan.identity.items() if now.get(name) != value]
    if changed == ["weights"] and job.version == plan.version.version and not job.weights:
        return  # "newest" was this one when the job began
    if changed:
        what = " and ".join(_SAID.get(name, name) for name in changed)
        raise ConfigError(
            f"{job.output}: an unfinished job is there, and {what} changed since it began "
            f"(it uses version {plan.version.version} of {plan.version.model})",
            hint="the same command as before goes on; --restart throws the unfinished work away",
        )


def make_plan(job: Job, pipeline: Pipeline, settings: ServiceSettings, now: Mapping[str, str], folder: Path) -> Plan:
    """Settle everything that the job stands on.

    Raises:
        ConfigError, WeightsError, DependencyError: something is wrong with the files, the columns or the weights.
    """
    kind, paths = find_files(job.inputs, outputs(job.output_path))
    files = [unpacked(stat(path), folder / "unpacked" / str(i)) for i, path in enumerate(paths)]
    parts, schema = _parts_and_schema(job, pipeline, kind, files)
    if missing := [name for name in job.columns or () if name not in schema.names]:
        raise ConfigError(f"--columns: no column {', '.join(missing)}", hint=f"there is {', '.join(schema.names)}")
    PredictionColumns(pipeline.model.prediction_type()).check_names(schema.names)
    version = weights.settle(job, pipeline, settings, folder / "weights.safetensors")
    open_network(pipeline, version.file)
    plan = Plan(
        job=job,
        identity=dict(now),
        kind=kind,
        files=files,
        parts=parts,
        version=version,
        schema=schema.serialize().to_pybytes(),
    )
    _check_columns(plan, pipeline, schema)
    return plan


def _parts_and_schema(job: Job, pipeline: Pipeline, kind: Kind, files: list[InputFile]) -> tuple[list[Part], pa.Schema]:
    struct, key = pipeline.model.event_type(), pipeline.model.key
    if kind == "parquet":
        if job.form.delimiter is not None or job.form.encoding is not None:
            raise ConfigError("--delimiter and --encoding are for text files, and the input is Parquet")
        return parquet_parts(files, job), parquet.carried_schema(files, struct, job.columns, key)
    if kind == "jsonl":
        if job.form.delimiter is not None:
            raise ConfigError("--delimiter is for CSV files, and no file is one")
        text.check_json(files, struct, job)
        return text_parts(files, job, None), text.carried_schema([], struct, job.columns, key)
    headers = [(file, _header(file, struct, job)) for file in files]
    names = [(file, text.other_columns(header)) for file, header in headers]
    schema = text.carried_schema(names, struct, job.columns, key)
    return text_parts(files, job, [header.delimiter for _, header in headers]), schema


def _header(file: InputFile, struct: type, job: Job) -> Header:
    path = Path(file.stored)
    return read_header(path, struct, encoding_of(path, job.form.encoding), job.form.delimiter)


def _check_columns(plan: Plan, pipeline: Pipeline, schema: pa.Schema) -> None:
    """Where the model makes features of columns, see on the first rows that they are those of events."""
    if plan.kind != "parquet" or not takes_columns(pipeline.model) or not plan.parts:
        return
    few = msgspec.structs.replace(plan, job=msgspec.structs.replace(plan.job, batch_rows=256))
    rows = next(open_reader(pipeline, few, schema).read(plan.parts[0]), None)
    if rows is None or rows.columns is None or not len(rows.numbers):
        return
    by_events = parquet.ParquetReader(few, pipeline.model.event_type(), schema, columnar=False)
    events = next(by_events.read(plan.parts[0])).events
    check_columns(pipeline, rows.columns, events or ())
