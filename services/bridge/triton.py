"""The bridge's edge to Triton: tritonclient over gRPC, which must run with `--model-control-mode=explicit`."""

from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from headrace.runtime.errors import DependencyError, HeadraceError
from services.bridge.publication import Refused

_AWAY = {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"}
CALL_S = 5.0


class Triton:
    """See `services.bridge.publication.ModelServer`. For one thread.

    Args:
        address: host:port of its gRPC endpoint.
        timeout_s: seconds that loading a model may take.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._client = grpc.InferenceServerClient(address)

    def load(self, model: str) -> None:
        """See `ModelServer.load`."""
        try:
            self._client.load_model(model, client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise self._translated(f"loading {model}", error) from error

    def unload(self, model: str) -> None:
        """See `ModelServer.unload`."""
        try:
            self._client.unload_model(model, client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise self._translated(f"unloading {model}", error) from error

    def serves(self, model: str, version: int, checkpoint: str) -> bool:
        """See `ModelServer.serves`."""
        try:
            if not self._client.is_model_ready(model, str(version), client_timeout=CALL_S):
                return False
            loaded: Any = self._client.get_model_config(model, str(version), client_timeout=CALL_S).config
        except InferenceServerException as error:
            raise self._translated(f"asking for {model} version {version}", error) from error
        return bool(loaded.parameters["headrace.checkpoint"].string_value == checkpoint)

    def infer(self, model: str, version: int, features: np.ndarray) -> np.ndarray:
        """See `ModelServer.infer`."""
        tensor = grpc.InferInput("features", list(features.shape), np_to_triton_dtype(features.dtype))
        tensor.set_data_from_numpy(features)
        try:
            answer = self._client.infer(model, [tensor], model_version=str(version), client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise self._translated(f"asking {model} version {version} for an answer", error) from error
        outputs: np.ndarray = answer.as_numpy("outputs")
        return outputs

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _translated(self, doing: str, error: InferenceServerException) -> HeadraceError:
        text = f"Triton at {self._address}, {doing}: {error.message()} [{error.status()}]"
        if error.status() in _AWAY:
            return DependencyError(text, hint="is it running, and its gRPC endpoint there?")
        return Refused(text, hint="Triton needs the Python backend, torch, and --model-control-mode=explicit")
