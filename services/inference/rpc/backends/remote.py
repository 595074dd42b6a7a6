"""The backend `remote`: a model of another server of the v2 protocol, through tritonclient.

1. A call that cannot reach the server is tried again, within `timeout_s` in all, unless `idempotent` is false.
2. After `breaker_failures` failures in a row calls fail at once, for `breaker_reset_s`; then one is let through to try.
3. What the server refuses is the request's error: it says nothing about the server.
"""

import asyncio
import random
import threading
import time
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.inference.oip.messages import InvalidRequest, ModelFailed, OipError, Unavailable
from services.inference.rpc.backends.arrays import Array
from services.inference.rpc.backends.breaker import Breaker
from services.inference.rpc.backends.port import BackendError, Columns, Signature, TensorInfo

T = TypeVar("T")

_FIRST_PAUSE_S = 0.05
_GONE = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
]


class RemoteSettings(BaseModel):
    """The `parameters` of a model's configuration, as the backend reads them."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    url: str = Field(min_length=1, description="host:port of the server's gRPC")
    model_name: str = Field("", description="the model's name there, by default the same as here")
    model_version: str = Field("", description="its version there, by default the one that the server chooses")
    timeout_s: float = Field(10.0, gt=0, description="seconds for a call, all tries together")
    retries: int = Field(2, ge=0, description="further tries of a call that does not reach the server")
    idempotent: bool = Field(default=True, description="whether a call may be tried again")
    breaker_failures: int = Field(5, ge=1, description="failures in a row until calls fail at once")
    breaker_reset_s: float = Field(5.0, gt=0, description="seconds until a call is let through again")


class RemoteBackend:
    """See `Backend`. It is loaded whether the server can be reached or not.

    Raises:
        BackendError: tritonclient is not installed, or the parameters are wrong.
    """

    def __init__(self, signature: Signature) -> None:
        try:
            from tritonclient.grpc import aio
        except ImportError:
            raise BackendError("tritonclient is not installed: pip install 'headrace[remote]'") from None
        self.inputs, self.outputs = signature.inputs, signature.outputs
        self._settings = settings = remote_settings(signature)
        self._name = settings.model_name or signature.name
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_reset_s)
        self._client: Any = _on_loop(_made(lambda: aio.InferenceServerClient(settings.url, channel_args=_CHANNEL)))

    @property
    def fault(self) -> str:
        """See `Backend`."""
        return self._refusal if self._breaker.open else ""

    @property
    def _refusal(self) -> str:
        return f"the server {self._settings.url} has not answered {self._settings.breaker_failures} times in a row"

    def run(self, columns: Columns) -> Columns:
        """See `Backend`."""
        return _on_loop(self._call(columns))

    def close(self) -> None:
        """See `Backend`."""
        _on_loop(self._client.close())

    async def _call(self, columns: Columns) -> Columns:
        from tritonclient.grpc import InferInput, InferRequestedOutput

        inputs = [self._input(InferInput, columns[i.name], i) for i in self.inputs if i.name in columns]
        outputs = [InferRequestedOutput(info.name) for info in self.outputs]
        answer = await self._tried(inputs, outputs)
        return {info.name: _taken(answer.as_numpy(info.name), info) for info in self.outputs}

    def _input(self, made: Any, array: Array, info: TensorInfo) -> Any:
        tensor = made(info.name, list(array.shape), info.datatype)
        if info.datatype == "BF16":
            import ml_dtypes

            array = array.view(ml_dtypes.bfloat16)
        return tensor.set_data_from_numpy(array)

    async def _tried(self, inputs: list[Any], outputs: list[Any]) -> Any:
        settings = self._settings
        deadline = time.monotonic() + settings.timeout_s
        left = settings.retries if settings.idempotent else 0
        pause = _FIRST_PAUSE_S
        while True:
            if not self._breaker.admit():
                raise Unavailable(self._refusal)
            try:
                return await self._once(inputs, outputs, deadline - time.monotonic())
            except Unavailable:
                wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - so that many callers do not come at once
                if not left or time.monotonic() + wait >= deadline or self._breaker.open:
                    raise
            left, pause = left - 1, 2 * pause
            await asyncio.sleep(wait)

    async def _once(self, inputs: list[Any], outputs: list[Any], seconds: float) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            answer = await self._client.infer(
                self._name, inputs, self._settings.model_version, outputs, client_timeout=max(seconds, 0.001)
            )
        except InferenceServerException as error:
            refused = _refused(error, self._settings.url)
            (self._breaker.failed if isinstance(refused, Unavailable) else self._breaker.succeeded)()
            raise refused from error
        except BaseException:
            self._breaker.released()
            raise
        self._breaker.succeeded()
        return answer


def remote_settings(signature: Signature) -> RemoteSettings:
    """A model's parameters.

    Raises:
        BackendError: one is missing, unknown or wrong.
    """
    try:
        return RemoteSettings.model_validate(dict(signature.parameters))
    except ValidationError as error:
        first = error.errors()[0]
        raise BackendError(f"parameter '{'.'.join(map(str, first['loc']))}': {first['msg']}") from None


def _refused(error: Any, url: str) -> OipError:
    status = str(error.status() or "").removeprefix("StatusCode.")
    said = f"the server {url} says {status}: {error.message()}"
    if status in _GONE:
        return Unavailable(said)
    return InvalidRequest(said) if status == "INVALID_ARGUMENT" else ModelFailed(said)


def _taken(found: Any, info: TensorInfo) -> Array:
    if found is None:
        raise ModelFailed(f"the answer has no output '{info.name}'")
    array: Array = found
    return array.view(np.uint16) if info.datatype == "BF16" else array


# The event loop of all remote models of the process, in a thread of its own: grpc.aio is at its best with one.


_STARTING = threading.Lock()


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="remote", daemon=True).start()
    return loop


def _on_loop(work: Coroutine[Any, Any, T]) -> T:
    with _STARTING:  # models are loaded in several threads, and must not make a loop each
        loop = _loop()
    return asyncio.run_coroutine_threadsafe(work, loop).result()


async def _made(make: Any) -> Any:
    return make()
