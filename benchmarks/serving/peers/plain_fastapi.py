"""Contestant: FastAPI as its documentation has it, one endpoint around the network. `python -m ... PORT WORKERS`.

The endpoint is a coroutine, since for a network this small a thread of the pool would cost more than the prediction.
"""

import os
import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.serving.task.network import FEATURES, read_network

torch.set_num_threads(1)
app = FastAPI()
network = read_network(os.environ["BENCH_WEIGHTS"])


class Row(BaseModel):
    """One event."""

    x01: float
    x02: float
    x03: float
    x04: float
    x05: float
    x06: float
    x07: float
    x08: float
    x09: float
    x10: float
    x11: float
    x12: float


class Request(BaseModel):
    """Some events."""

    rows: list[Row]


class Answer(BaseModel):
    """Their predictions."""

    predictions: list[float]


@app.post("/predict")
async def predict(request: Request) -> Answer:
    """Predict."""
    rows = [[getattr(row, name) for name in FEATURES] for row in request.rows]
    with torch.inference_mode():
        outputs = network(torch.tensor(rows, dtype=torch.float32))
    return Answer(predictions=outputs[:, 0].tolist())


if __name__ == "__main__":
    port, workers = int(sys.argv[1]), int(sys.argv[2])
    uvicorn.run(
        "benchmarks.serving.peers.plain_fastapi:app", port=port, workers=workers, access_log=False, log_level="warning"
    )
