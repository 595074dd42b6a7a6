"""Contestant: the network as a custom runtime of MLServer, which batches requests before it calls this."""

import os

import numpy as np
import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.task.network import read_network


class Mlp(MLModel):
    """Twelve inputs of one column."""

    async def load(self) -> bool:
        """Load the network."""
        torch.set_num_threads(1)
        self._network = read_network(os.environ["BENCH_WEIGHTS"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict."""
        columns = [NumpyCodec.decode_input(one) for one in payload.inputs]
        rows = np.concatenate(columns, axis=1).astype(np.float32)
        with torch.inference_mode():
            outputs = self._network(torch.from_numpy(rows)).numpy().astype(np.float64)
        output = NumpyCodec.encode_output(name="prediction", payload=outputs)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
