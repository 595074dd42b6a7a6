"""Contestant: the network in Triton's python backend; the requests of a batch are executed together.

Triton's stub runs this file by itself: the folder of the network's module and the weights' file come by parameters.
"""

import json
import sys

import numpy as np
import torch
import triton_python_backend_utils as triton

OUTPUT = "prediction"


class TritonPythonModel:
    """Twelve inputs of one column, or one of twelve."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network."""
        config = json.loads(args["model_config"])
        parameters = {name: of["string_value"] for name, of in config["parameters"].items()}
        sys.path.insert(0, parameters["code"])
        from network import read_network

        torch.set_num_threads(1)
        self._network = read_network(parameters["weights"])
        self._inputs = [one["name"] for one in config["input"]]

    def execute(self, requests: list) -> list:
        """Predict for all requests at once, and cut the answers apart."""
        parts = []
        for request in requests:
            columns = [triton.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs]
            parts.append(columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1))
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        with torch.inference_mode():
            outputs = self._network(torch.from_numpy(rows.astype(np.float32))).numpy().astype(np.float64)
        answers, at = [], 0
        for part in parts:
            tensor = triton.Tensor(OUTPUT, outputs[at : at + len(part)])
            answers.append(triton.InferenceResponse([tensor]))
            at += len(part)
        return answers
