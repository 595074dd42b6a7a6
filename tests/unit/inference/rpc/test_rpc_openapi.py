"""The OpenAPI page of the role `rpc`: complete, true to what is served, and served without a network."""

import json
import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Literal

import httpx
import msgspec
import pytest
import torch
from fastapi.openapi.models import OpenAPI
from starlette.routing import Route

from headrace.model.port import Model
from headrace.weights.worker.source import StaticWeights
from services.inference.rpc.control.operations import alone
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.rest.app import create_app
from services.inference.rpc.rest.openapi import document
from services.inference.rpc.service import DataPlane


class Color(Enum):
    RED = "red"


class Part(msgspec.Struct):
    weight: float


class Event(msgspec.Struct):
    key: str
    zone: int
    x: float
    raining: bool
    kind: Literal["city", "country"]
    color: Color
    history: list[float]
    parts: list[Part]
    tip: float | None = None


class Label(msgspec.Struct):
    key: str
    y: float


class Score(msgspec.Struct):
    value: float
    where: dict[str, int]


class Scored(Model[Event, Label]):
    key = "key"

    def network(self) -> torch.nn.Module:
        return torch.nn.Identity()

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        return torch.tensor([[e.x + sum(e.history) + e.parts[0].weight] for e in events], dtype=torch.float64)

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[Score]:
        return [Score(value, {"row": 1}) for value in outputs[:, 0].tolist()]

    def error(self, prediction: Score, label: Label) -> float:
        return 0.0


SAMPLE = Event("a", 3, 0.5, True, "country", Color.RED, [1.0, 2.0], [Part(4.0)])


@pytest.fixture
def plane() -> Iterator[DataPlane]:
    model = Scored()
    plane = DataPlane("parts", model, StaticWeights(model.network(), version=7), max_batch=16)
    yield plane
    plane.close()


def client(plane: DataPlane, samples: Sequence[Any] = (SAMPLE,)) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(Registry([plane]), alone(Registry([plane])), samples))
    return httpx.AsyncClient(transport=transport, base_url="http://rpc")


def test_every_route_is_described_and_no_other(plane: DataPlane) -> None:
    served = {
        (method.lower(), route.path)
        for route in create_app(Registry([plane]), alone(Registry([plane]))).routes
        if isinstance(route, Route) and route.path.startswith("/v2")
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = document(plane.config())["paths"]
    assert {(method, path) for path, methods in described.items() for method in methods} == served


def test_it_is_a_sound_document(plane: DataPlane) -> None:
    described = document(plane.config(), [SAMPLE])
    OpenAPI.model_validate(described)
    schemas = described["components"]["schemas"]
    referred = set(re.findall('"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert referred <= schemas.keys()
    identities = [one["operationId"] for methods in described["paths"].values() for one in methods.values()]
    assert len(identities) == len(set(identities))


def test_it_says_what_each_tensor_is(plane: DataPlane) -> None:
    schemas = document(plane.config(), [SAMPLE])["components"]["schemas"]
    inputs = {name.removeprefix("Input_"): one for name, one in schemas.items() if name.startswith("Input_")}
    assert {name: one["properties"]["datatype"]["const"] for name, one in inputs.items()} == {
        "key": "BYTES", "zone": "INT64", "x": "FP64", "raining": "BOOL", "kind": "BYTES", "color": "BYTES",
        "history": "FP64", "parts": "BYTES", "tip": "FP64",
    }  # fmt: skip
    assert inputs["zone"]["properties"]["data"]["items"]["type"] == "integer"
    assert inputs["history"]["properties"]["shape"]["description"] == "[events, elements]"
    assert "its JSON in a string" in inputs["parts"]["description"]
    assert "need not be sent" in inputs["tip"]["description"]
    assert {name for name in schemas if name.startswith("Output_")} == {"Output_value", "Output_where"}


async def test_its_example_is_a_request_that_is_answered(plane: DataPlane) -> None:
    async with client(plane) as rest:
        described = (await rest.get("/openapi.json")).json()
        example = described["components"]["schemas"]["InferRequest"]["example"]
        answer = await rest.post("/v2/models/parts/infer", json=example)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version"] == "7"
    assert answer.json()["outputs"][0] == {"name": "value", "datatype": "FP64", "shape": [1, 1], "data": [7.5]}


async def test_without_samples_the_example_has_the_right_types(plane: DataPlane) -> None:
    example = document(plane.config())["components"]["schemas"]["InferRequest"]["example"]
    assert [one["name"] for one in example["inputs"]] == [n for n in Event.__struct_fields__ if n != "tip"]
    assert [one["data"] for one in example["inputs"][1:4]] == [[1], [1.0], [True]]


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_its_pages_load_nothing_from_elsewhere(plane: DataPlane, page: str) -> None:
    async with client(plane) as rest:
        shown = await rest.get(page)
        assert shown.status_code == 200
        loaded = re.findall(r'(?:src|href)="([^"]+)"', shown.text)
        assert loaded
        assert all(path.startswith("/static-offline-docs/") for path in loaded)
        assert [(await rest.get(path)).status_code for path in loaded] == [200] * len(loaded)


async def test_what_is_wrong_is_answered_as_before(plane: DataPlane) -> None:
    async with client(plane) as rest:
        assert (await rest.get("/nothing")).json() == {"error": "Not Found"}
        assert (await rest.post("/docs")).status_code == 405
        assert (await rest.get("/v2/models/parts/infer")).status_code == 405
