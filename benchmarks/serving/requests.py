"""The requests of every form, as bytes, and what is right for each."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tritonclient import http

from benchmarks.serving.load.http1 import request
from benchmarks.serving.load.plan import Form
from benchmarks.serving.task.network import FEATURES
from headrace.contracts.oip import service_pb2 as pb

DIFFERENT = 100
MODEL = "bench"
ONE_TENSOR = "bench_one_tensor"
"""The model whose request has one tensor of twelve columns instead of twelve tensors of one."""
INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Requests:
    """Prepared requests."""

    form: Form
    path: str
    bodies: list[bytes]
    answers: list[list[float]]


def make_requests(form: Form, network: nn.Module, batch: int, *, one_tensor: bool = False) -> Requests:
    """100 different requests of `batch` events each; the same every time."""
    dice = random.Random(batch)
    model = ONE_TENSOR if one_tensor else MODEL
    bodies, answers = [], []
    for _ in range(DIFFERENT):
        rows = [[round(dice.uniform(-1, 1), 6) for _ in FEATURES] for _ in range(batch)]
        with torch.inference_mode():
            answers.append(network(torch.tensor(rows, dtype=torch.float32))[:, 0].tolist())
        bodies.append(_body(form, model, rows, one_tensor=one_tensor))
    return Requests(form, INFER, bodies, answers)


def _body(form: Form, model: str, rows: Sequence[Sequence[float]], *, one_tensor: bool) -> bytes:
    tensors = _tensors(rows, one_tensor=one_tensor)
    path = f"/v2/models/{model}/infer"
    if form == "grpc":
        return _grpc(model, tensors)
    if form == "json":
        inputs = [_described(name, column, data=column.ravel().tolist()) for name, column in tensors]
        return request("POST", path, _compact({"inputs": inputs}), Content_Type="application/json")
    if form == "plain":
        named = [dict(zip(FEATURES, row, strict=True)) for row in rows]
        return request("POST", "/predict", _compact({"rows": named}), Content_Type="application/json")
    return _by_tritonclient(path, tensors) if form == "tritonclient" else _binary(path, tensors)


def _tensors(rows: Sequence[Sequence[float]], *, one_tensor: bool) -> list[tuple[str, np.ndarray]]:
    whole = np.array(rows, dtype=np.float64)
    if one_tensor:
        return [("x", whole)]
    return [(name, np.ascontiguousarray(whole[:, n : n + 1])) for n, name in enumerate(FEATURES)]


def _grpc(model: str, tensors: Sequence[tuple[str, np.ndarray]]) -> bytes:
    message = pb.ModelInferRequest(model_name=model)
    for name, column in tensors:
        message.inputs.add(name=name, datatype="FP64", shape=column.shape)
        message.raw_input_contents.append(column.tobytes())
    return message.SerializeToString()


def _binary(path: str, tensors: Sequence[tuple[str, np.ndarray]]) -> bytes:
    inputs = [_described(name, c, parameters={"binary_data_size": c.nbytes}) for name, c in tensors]
    wanted = [{"name": "prediction", "parameters": {"binary_data": True}}]
    head = _compact({"inputs": inputs, "outputs": wanted})
    body = head + b"".join(column.tobytes() for _, column in tensors)
    return request(
        "POST", path, body, Content_Type="application/octet-stream", Inference_Header_Content_Length=str(len(head))
    )


def _by_tritonclient(path: str, tensors: Sequence[tuple[str, np.ndarray]]) -> bytes:
    """As tritonclient's HTTP client writes it."""
    inputs = []
    for name, column in tensors:
        inputs.append(http.InferInput(name, list(column.shape), "FP64"))
        inputs[-1].set_data_from_numpy(column)
    body, length = http.InferenceServerClient.generate_request_body(inputs)
    return request(
        "POST", path, body, Content_Type="application/octet-stream", Inference_Header_Content_Length=str(length)
    )


def _described(name: str, column: np.ndarray, **more: object) -> dict[str, object]:
    return {"name": name, "datatype": "FP64", "shape": list(column.shape), **more}


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
