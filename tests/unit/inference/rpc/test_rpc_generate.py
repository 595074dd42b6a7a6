"""One event as a plain JSON object, and the whole body as one input."""

import struct
from collections.abc import Sequence

import httpx
import msgspec
import pytest
import torch

from headrace.model.port import Model
from headrace.weights.worker.source import StaticWeights
from services.inference.rpc.control.operations import alone
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.rest.app import create_app
from services.inference.rpc.service import DataPlane
from tests.unit.inference.rpc.test_rpc_openapi import SAMPLE, Scored


class Reading(msgspec.Struct):
    level: float


class Outcome(msgspec.Struct):
    level: float
    y: float


class Doubled(Model[Reading, Outcome]):
    key = "level"

    def network(self) -> torch.nn.Module:
        return torch.nn.Identity()

    def features(self, events: Sequence[Reading]) -> torch.Tensor:
        return torch.tensor([[2 * e.level] for e in events], dtype=torch.float64)

    def loss(self, outputs: torch.Tensor, labels: Sequence[Outcome]) -> torch.Tensor:
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Outcome) -> float:
        return 0.0


def client(model: Model) -> httpx.AsyncClient:
    planes = Registry([DataPlane("one", model, StaticWeights(model.network(), version=7))])
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(planes, alone(planes))), base_url="http://rpc")


async def test_an_event_goes_as_its_own_json_and_so_do_outputs_of_json() -> None:
    async with client(Scored()) as rest:
        answer = await rest.post("/v2/models/one/generate", json=msgspec.to_builtins(SAMPLE))

    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in ("model_version", "value", "where")} == {
        "model_version": "7",
        "value": 7.5,
        "where": {"row": 1},
    }


async def test_parameters_are_those_of_the_request_wherever_they_stand() -> None:
    async with client(Doubled()) as rest:
        for wish in ({"timing": True}, {"parameters": {"timing": True}}):
            answer = await rest.post("/v2/models/one/generate", json={"level": 2.0, **wish})
            assert "total_ns" in answer.json()["parameters"]


@pytest.mark.parametrize("level", [0.25, -3.0])
async def test_a_raw_body_is_the_one_input_of_a_batch_of_one(level: float) -> None:
    headers = {"Inference-Header-Content-Length": "0", "accept-encoding": "identity"}
    async with client(Doubled()) as rest:
        answer = await rest.post("/v2/models/one/infer", content=struct.pack("<d", level), headers=headers)

    at = int(answer.headers["Inference-Header-Content-Length"])
    assert struct.unpack("<d", answer.content[at:]) == (2 * level,)
