"""tritonclient's four clients behind one face, so that one suite runs over all of them."""

import asyncio
import inspect
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

NUMPY = {"BYTES": np.object_, "INT64": np.int64, "FP64": np.float64, "BOOL": np.bool_, "FP32": np.float32}

TRIP = {"trip_id": "t1", "zone": 3, "distance_km": 2.5, "raining": True, "kind": "city", "tip": 1.5, "note": "ünï"}
DATATYPES = {
    "trip_id": "BYTES",
    "zone": "INT64",
    "distance_km": "FP64",
    "raining": "BOOL",
    "kind": "BYTES",
    "tip": "FP64",
    "note": "BYTES",
}


class Client:
    """One of the clients; calls of the asynchronous ones are run to their end."""

    def __init__(self, kind: str, http: str, grpc: str) -> None:
        self.kind = kind
        self.transport: ModuleType = tritonclient.grpc if kind.startswith("grpc") else tritonclient.http
        self._runner = asyncio.Runner() if kind.endswith("aio") else None
        module: Any = self.transport.aio if self._runner else self.transport
        make = lambda: module.InferenceServerClient(grpc if kind.startswith("grpc") else http)  # noqa: E731
        self.raw = self._run(make()) if self._runner is None else self._runner.run(self._made(make))

    async def _made(self, make: Any) -> Any:
        return make()  # inside the loop that it will use

    def _run(self, value: Any) -> Any:
        return self._runner.run(_awaited(value)) if self._runner and inspect.isawaitable(value) else value

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._run(getattr(self.raw, name)(*args, **kwargs))

    def close(self) -> None:
        self._run(self.raw.close())
        if self._runner:
            self._runner.close()

    def inputs(self, trips: list[dict], *, shape: tuple[int, ...] = (1,), **datatypes: str) -> list[Any]:
        """The inputs of a batch: columns of the first trip's fields, each of shape [N, *shape]."""
        made = []
        for name in trips[0]:
            datatype = datatypes.get(name, DATATYPES.get(name, "BYTES"))
            column = np.array([t[name] for t in trips], NUMPY[datatype]).reshape(len(trips), *shape)
            tensor = self.transport.InferInput(name, list(column.shape), datatype)
            tensor.set_data_from_numpy(column)
            made.append(tensor)
        return made

    def predict(self, trips: list[dict], model: str = "trips", **options: Any) -> Any:
        return self.infer(model, self.inputs(trips), **options)

    def as_json(self, answer: Any) -> Any:
        """A reply as plain values: gRPC clients give messages, REST clients give dicts."""
        if isinstance(answer, dict | list):
            return answer
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(answer, preserving_proto_field_name=True)


async def _awaited(value: Any) -> Any:
    return await value
