"""Doing one part: read, predict, write. Every engine's processes run this and nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import torch

from headrace.batch.job import Part, PartResult, Plan, output_kind
from headrace.batch.predicting import Predicted, Predictor, takes_columns
from headrace.batch.reading.parquet import ParquetReader
from headrace.batch.reading.rows import Reader
from headrace.batch.reading.text import CsvReader, JsonReader
from headrace.batch.work import read_plan
from headrace.batch.writing.part import write_part
from headrace.model.pipeline import Pipeline, load_pipeline

OnRows = Callable[[int, int], None]
"""Is called after each batch with the rows that were read and those that were rejected."""


def one_thread() -> None:
    """Let torch use one thread: processes are what a job runs several of, and sums are then added in one order."""
    torch.set_num_threads(1)
    pa.set_cpu_count(1)


class PartRunner:
    """Does parts of the plan in a work folder, with the weights mapped once."""

    def __init__(self, folder: Path, plan: Plan | None = None, pipeline: Pipeline | None = None) -> None:
        self._folder, self._plan = folder, plan or read_plan(folder)
        pipeline = pipeline or load_pipeline(self._plan.job.pipeline).of_model(self._plan.job.model)
        schema = carried(self._plan)
        self._reader = open_reader(pipeline, self._plan, schema)
        self._predictor = Predictor(pipeline, self._plan, schema)

    @property
    def schema(self) -> pa.Schema:
        """The output's."""
        return self._predictor.schema

    def run(self, part: int, on_rows: OnRows) -> PartResult:
        """Do a part; it is on disk, durable, when this returns.

        Raises:
            OSError: the disk is full, or a file is gone.
            PipelineError: the model's code is wrong in a way that is no single row's.
        """
        kind, packed = output_kind(self._plan.job.output_path)
        predicted = self._predicted(self._plan.parts[part], on_rows)
        return write_part(self._folder, part, kind, self.schema, predicted, packed=packed)

    def _predicted(self, part: Part, on_rows: OnRows) -> Iterator[Predicted]:
        for rows in self._reader.read(part):
            one = self._predictor.predict(rows)
            yield one
            on_rows(rows.read, len(one.bad))


def carried(plan: Plan) -> pa.Schema:
    """The schema of the columns that are carried."""
    return pa.ipc.read_schema(pa.py_buffer(plan.schema))


def open_reader(pipeline: Pipeline, plan: Plan, schema: pa.Schema) -> Reader:
    """What reads the plan's files."""
    struct = pipeline.model.event_type()
    if plan.kind == "parquet":
        return ParquetReader(plan, struct, schema, columnar=takes_columns(pipeline.model))
    return CsvReader(plan, struct, schema) if plan.kind == "csv" else JsonReader(plan, struct, schema)
