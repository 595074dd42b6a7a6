"""The bridge's edge to Triton: tritonclient over gRPC, which must run with `--model-control-mode=explicit`."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from headrace.runtime.errors import DependencyError
from services.bridge.publication import Refused

_AWAY = {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED"}
CALL_S = 5.0


class Triton:
    """See `services.bridge.publication.ModelServer`. For one thread; only `close` may come from another.

    Args:
        address: host:port of its gRPC endpoint.
        timeout_s: seconds that loading a model may take.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._closed = False
        self._client = grpc.InferenceServerClient(address)

    def load(self, model: str) -> None:
        """See `ModelServer.load`."""
        with self._asking(f"loading {model}"):
            self._client.load_model(model, client_timeout=self._timeout_s)

    def unload(self, model: str) -> None:
        """See `ModelServer.unload`."""
        with self._asking(f"unloading {model}"):
            self._client.unload_model(model, client_timeout=self._timeout_s)

    def serves(self, model: str, version: int, checkpoint: str) -> bool:
        """See `ModelServer.serves`."""
        with self._asking(f"asking for {model} version {version}"):
            if not self._client.is_model_ready(model, str(version), client_timeout=CALL_S):
                return False
            loaded: Any = self._client.get_model_config(model, str(version), client_timeout=CALL_S).config
        return bool(loaded.parameters["headrace.checkpoint"].string_value == checkpoint)

    def infer(self, model: str, version: int, features: np.ndarray) -> np.ndarray:
        """See `ModelServer.infer`."""
        tensor = grpc.InferInput("features", list(features.shape), np_to_triton_dtype(features.dtype))
        tensor.set_data_from_numpy(features)
        with self._asking(f"asking {model} version {version} for an answer"):
            answer = self._client.infer(model, [tensor], model_version=str(version), client_timeout=self._timeout_s)
        outputs: np.ndarray = answer.as_numpy("outputs")
        return outputs

    def close(self) -> None:
        """Close the connection; a call that another thread waits for ends with a `DependencyError`."""
        self._closed = True
        self._client.close()

    @contextlib.contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            text = f"Triton at {self._address}, {doing}: {error.message()} [{error.status()}]"
            if error.status() in _AWAY:
                raise DependencyError(text, hint="is it running, and its gRPC endpoint there?") from error
            raise Refused(
                text, hint="Triton needs the Python backend, torch, and --model-control-mode=explicit"
            ) from error
        except ValueError as error:  # what grpc raises of a channel that was closed
            if not self._closed:
                raise
            raise DependencyError(f"Triton at {self._address}, {doing}: the connection was closed") from error
