"""The gateway's logic: events in, predictions out in the same order, by as many requests to the model as they take."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from headrace.model.json_errors import DECODE_ERRORS, json_problem
from services.gateway.errors import BadRequestError, RefusedError
from services.gateway.tensors import Event, Predicted, Signature, batches, predictions, signature


class Models(Protocol):
    """A server of the Open Inference Protocol, asked by REST path."""

    async def get(self, path: str) -> Any:
        """The JSON at a path."""
        ...

    async def ask(self, path: str, body: bytes) -> Any:
        """The JSON answer to a POST."""
        ...


class Predictions:
    """Predicts events of one pipeline."""

    def __init__(self, pipeline: str, models: Models) -> None:
        self._path, self._models = f"/v2/models/{pipeline}", models
        self._signature: Signature | None = None

    async def predict(self, events: Sequence[Event]) -> list[Predicted]:
        """A prediction of each event.

        Raises:
            BadRequestError, RefusedError: an event does not fit the model.
            UnavailableError, DeadlineError: no instance answered.
        """
        if not events:
            return []
        known = self._signature
        try:
            return await self._predict(events, known or await self._learn())
        except (BadRequestError, RefusedError):
            if known is None or await self._learn() == known:
                raise
        return await self._predict(events, await self._learn())  # the model's inputs have changed meanwhile

    async def _learn(self) -> Signature:
        self._signature = signature(await self._models.get(f"{self._path}/config"))
        return self._signature

    async def _predict(self, events: Sequence[Event], of: Signature) -> list[Predicted]:
        requests = batches(events, of)
        answers = await asyncio.gather(*(self._infer(inputs) for _, inputs in requests))
        made: dict[int, Predicted] = {}
        for (positions, _), answer in zip(requests, answers, strict=True):
            made |= zip(positions, predictions(answer, of), strict=True)
        return [made[position] for position in range(len(events))]

    async def _infer(self, inputs: list[dict[str, Any]]) -> Any:
        return await self._models.ask(f"{self._path}/infer", msgspec.json.encode({"inputs": inputs}))


def parse_events(body: bytes) -> tuple[list[Event], bool]:
    """The events in a body, and whether the body is a list.

    Raises:
        BadRequestError: neither a JSON object nor an array of objects; the text names event and field where it can.
    """
    try:
        content = msgspec.json.decode(body)
    except DECODE_ERRORS as error:
        raise BadRequestError(f"the body is not JSON: {json_problem(body, error).named_in('event')}") from error
    events = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        raise BadRequestError("the body must be one event, a JSON object, or an array of them")
    return events, isinstance(content, list)
