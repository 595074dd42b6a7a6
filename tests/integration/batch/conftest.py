"""Pipelines, weights and files for batch jobs, which run as processes of their own."""

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from headrace.batch.job import Job
from headrace.model.pipeline import Pipeline, load_pipeline
from tests.patience import WAIT_S

TRIPS = Path(__file__).parents[1] / "rpc" / "trips"
RIDES = Path(__file__).parents[3] / "examples" / "rides"


def trips(count: int) -> list[dict[str, Any]]:
    chance = random.Random(5)
    return [
        {
            "trip_id": f"t{i}", "zone": chance.randrange(100), "distance_km": chance.uniform(0, 30),
            "raining": chance.random() < 0.5, "kind": chance.choice(["city", "country"]),
            "tip": chance.choice([None, 1.5]), "note": chance.choice(["", "quick, please", 'a "friend"\nwaits']),
        }
        for i in range(count)
    ]  # fmt: skip


def write(rows: list[dict[str, Any]], path: Path, row_group_size: int = 500) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
    elif path.suffix == ".csv":
        pc.write_csv(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if ".csv" in path.suffixes:
        return pc.read_csv(path, parse_options=pc.ParseOptions(newlines_in_values=True)).to_pylist()
    with pa.input_stream(str(path), compression="detect") as file:
        return [json.loads(line) for line in file.read().splitlines()]


@dataclass
class Batches:
    """Runs jobs with one set of weights."""

    folder: Path
    tmp: Path
    weights: Path
    pipeline: Pipeline
    network: torch.nn.Module
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def by_hand(self, rows: list[dict[str, Any]]) -> list[float]:
        events = msgspec.convert(rows, list[self.pipeline.model.event_type()])
        with torch.inference_mode():
            return list(self.pipeline.model.predictions(self.network(self.pipeline.model.features(events))))

    def command(self, *arguments: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "headrace", "batch", str(self.folder), "--weights", str(self.weights),
             *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=WAIT_S, env={**os.environ, **env}, cwd=self.tmp,
        )  # fmt: skip

    def job(self, source: Path, output: Path, **options: Any) -> Path:
        job = Job(
            pipeline=str(self.folder), inputs=[str(source)], output=str(output), weights=str(self.weights), **options
        )
        path = self.tmp / f"{output.name}.job.json"
        path.write_bytes(msgspec.json.encode(job))
        return path

    def start(self, job: Path) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace.batch", str(job)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def batches_of(folder: Path, tmp: Path) -> Batches:
    pipeline = load_pipeline(folder)
    torch.manual_seed(11)
    network = pipeline.model.network().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_file(network.state_dict(), tmp / "weights.safetensors")
    return Batches(folder, tmp, tmp / "weights.safetensors", pipeline, network)


@pytest.fixture
def batches(tmp_path: Path) -> Any:
    one = batches_of(TRIPS, tmp_path)
    yield one
    one.close()


@pytest.fixture
def rides(tmp_path: Path) -> Any:
    one = batches_of(RIDES, tmp_path)
    yield one
    one.close()
