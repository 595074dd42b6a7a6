"""The same events through every entry of a model that is served: each returns its predictions as bytes, in order."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np
import tritonclient.utils.shared_memory as shm
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import serialize_byte_tensor

from tests.integration.rpc.rpc_clients import NUMPY, Client
from tests.patience import WAIT_S

REGION = 1 << 16
CONTENTS = {"BYTES": "bytes_contents", "INT64": "int64_contents", "FP64": "fp64_contents", "BOOL": "bool_contents"}


def column(events: Sequence[Any], name: str, datatype: str) -> np.ndarray:
    values = [getattr(event, name) for event in events]
    if datatype == "BYTES":
        return np.array([v.encode() for v in values], np.object_).reshape(-1, 1)
    return np.array([math.nan if v is None else v for v in values], NUMPY[datatype]).reshape(-1, 1)


class Entries:
    """The entries of rpc."""

    def __init__(self, model: str, http: str, grpc: str, client: Callable[[str], Client]) -> None:
        self.model, self.http, self.grpc = model, http, grpc
        self.clients = {kind: client(kind) for kind in ("http", "http.aio", "grpc", "grpc.aio")}
        metadata = self.clients["http"].get_model_metadata(model)
        self.fields = {one["name"]: one["datatype"] for one in metadata["inputs"]}
        self.key = f"/every-entry-{model}"
        self.region = shm.create_shared_memory_region("every", self.key, REGION)
        self.clients["grpc"].register_system_shared_memory("every", self.key, REGION)
        self.ways: dict[str, Callable[[Sequence[Any]], bytes]] = {
            **{f"{kind} binary": self._by_client(kind) for kind in self.clients},
            "gRPC typed": self.typed, "gRPC stream": self.stream, "REST JSON": self.json, "shared memory": self.shared,
        }  # fmt: skip

    def close(self) -> None:
        self.clients["grpc"].unregister_system_shared_memory()
        shm.destroy_shared_memory_region(self.region)
        for client in self.clients.values():
            client.close()

    def _inputs(self, client: Client, events: Sequence[Any]) -> list[Any]:
        made = []
        for name, datatype in self.fields.items():
            data = column(events, name, datatype)
            made.append(client.transport.InferInput(name, list(data.shape), datatype))
            made[-1].set_data_from_numpy(data)
        return made

    def _by_client(self, kind: str) -> Callable[[Sequence[Any]], bytes]:
        def ask(events: Sequence[Any]) -> bytes:
            client = self.clients[kind]
            answer = client.infer(self.model, self._inputs(client, events))
            return bytes(answer.as_numpy("prediction").tobytes())

        return ask

    def _typed(self, events: Sequence[Any], identifier: str = "") -> Any:
        request = pb.ModelInferRequest(model_name=self.model, id=identifier)
        for name, datatype in self.fields.items():
            tensor = request.inputs.add(name=name, datatype=datatype, shape=[len(events), 1])
            getattr(tensor.contents, CONTENTS[datatype]).extend(column(events, name, datatype)[:, 0].tolist())
        return request

    def typed(self, events: Sequence[Any]) -> bytes:
        answer = self.clients["grpc"].raw._client_stub.ModelInfer(self._typed(events))
        return bytes(answer.raw_output_contents[0])

    def stream(self, events: Sequence[Any]) -> bytes:
        """Each event by a request of its own, then all in one; both must be the same."""
        requests = [self._typed([event], str(i)) for i, event in enumerate(events)]
        stub = self.clients["grpc"].raw._client_stub
        answers = list(stub.ModelStreamInfer(iter([*requests, self._typed(events, "all")]), timeout=WAIT_S))
        assert not [one.error_message for one in answers if one.error_message]
        found = {one.infer_response.id: one.infer_response.raw_output_contents[0] for one in answers}
        alone = b"".join(found[str(i)] for i in range(len(events)))
        assert found["all"] == alone
        return alone

    def json(self, events: Sequence[Any]) -> bytes:
        inputs = [
            {"name": n, "datatype": d, "shape": [len(events), 1], "data": [getattr(event, n) for event in events]}
            for n, d in self.fields.items()
        ]
        url = f"http://{self.http}/v2/models/{self.model}/infer"
        answer = httpx.post(url, json={"inputs": inputs}, timeout=WAIT_S)
        assert answer.status_code == 200, answer.text
        return np.array(answer.json()["outputs"][0]["data"], np.float64).tobytes()

    def shared(self, events: Sequence[Any]) -> bytes:
        client, at = self.clients["grpc"], 0
        inputs = self._inputs(client, events)
        for tensor in inputs:
            data = column(events, tensor.name(), tensor.datatype())
            packed = serialize_byte_tensor(data) if tensor.datatype() == "BYTES" else data
            size = len(packed.item()) if tensor.datatype() == "BYTES" else packed.nbytes
            shm.set_shared_memory_region(self.region, [packed], offset=at)
            tensor.set_shared_memory("every", size, offset=at)
            at += size
        output = client.transport.InferRequestedOutput("prediction")
        output.set_shared_memory("every", 8 * len(events), offset=at)
        client.infer(self.model, inputs, outputs=[output])
        return bytes(shm.get_contents_as_numpy(self.region, np.float64, [len(events), 1], offset=at).tobytes())
