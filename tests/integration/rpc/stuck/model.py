"""A model that never answers an event that tells it to block, and raises on one that tells it to."""

import threading
from collections.abc import Sequence

import msgspec
import torch

import headrace


class Order(msgspec.Struct, frozen=True):
    order_id: str
    todo: str
    x: float


class Result(msgspec.Struct, frozen=True):
    order_id: str
    y: float


class Stuck(headrace.Model[Order, Result]):
    key = "order_id"

    def network(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)

    def features(self, orders: Sequence[Order]) -> torch.Tensor:
        for order in orders:
            if order.todo == "block":
                threading.Event().wait()
            if order.todo == "raise":
                raise RuntimeError("told to")
        return torch.tensor([[order.x] for order in orders])

    def loss(self, outputs: torch.Tensor, results: Sequence[Result]) -> torch.Tensor:
        return torch.nn.functional.mse_loss(outputs[:, 0], torch.tensor([r.y for r in results]))

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].double().tolist()

    def error(self, prediction: float, result: Result) -> float:
        return abs(prediction - result.y)
