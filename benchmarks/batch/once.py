"""One measurement in a process of its own: `python -m benchmarks.batch.once ours|bare JOB.json`; prints seconds.

The clock starts when everything is imported and the pipeline is loaded, and stops when the output is durable.

The bare loop is what one would write for this very file: it reads record batches with pyarrow, takes the columns to
numpy, makes the features of them by the pipeline's own `features_of_columns`, does one forward pass a batch of the same
size, and writes the same columns with the predictions by one pyarrow ParquetWriter, a row group for as many rows as a
part has; then it syncs the file. It checks no value, keeps no journal and cannot be resumed.
"""

import os
import sys
import threading
import time
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from headrace.batch.job import Job
from headrace.batch.run import Silent, run_batch
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime.settings import ServiceSettings, load


def ours(job: Job) -> None:
    """The job, as `headrace batch` does it."""
    run_batch(job, load(ServiceSettings, "bench"), Silent(), threading.Event())


def bare(job: Job, pipeline: Pipeline) -> None:
    """The bare loop."""
    network = pipeline.model.network()
    network.load_state_dict(load_file(job.weights))
    network.eval()
    source = pq.ParquetFile(job.inputs[0], memory_map=True)
    schema = source.schema_arrow.append(pa.field("prediction", pa.float64()))
    with torch.inference_mode(), Path(job.output).open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        made: list[pa.RecordBatch] = []
        for batch in source.iter_batches(job.batch_rows):
            columns = {
                name: batch.column(i).to_numpy(zero_copy_only=False) for i, name in enumerate(batch.schema.names)
            }
            features = pipeline.model.features_of_columns(columns)
            if features is None:
                raise SystemExit("the pipeline makes no features of columns")
            predictions = pa.array(network(features).double().numpy())
            made.append(pa.RecordBatch.from_arrays([*batch.columns, predictions], schema=schema))
            if sum(one.num_rows for one in made) >= job.part_rows:
                writer.write_table(pa.Table.from_batches(made))
                made = []
        if made:
            writer.write_table(pa.Table.from_batches(made))
        writer.close()
        file.flush()
        os.fsync(file.fileno())


def main(which: str, job_file: str) -> None:
    """Measure one."""
    job = msgspec.json.decode(Path(job_file).read_bytes(), type=Job)
    pipeline = load_pipeline(job.pipeline)
    if which == "bare":
        torch.set_num_threads(1)
        pa.set_cpu_count(1)
    started, used = time.perf_counter(), sum(os.times()[:4])
    if which == "bare":
        bare(job, pipeline)
    else:
        ours(job)
    sys.stdout.write(f"{time.perf_counter() - started:.6f} {sum(os.times()[:4]) - used:.6f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
