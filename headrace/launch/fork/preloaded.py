"""The modules that a fork server imports before it forks: those that roles share and that are slow or large.

Not the services' own modules: they are small, and importing one registers its metrics, which would then stand on every
role's /metrics. A module that is not installed is skipped: the role that needs it says so.
"""

import importlib
from collections.abc import Iterable

MODULES = (
    # numerics and records
    "numpy",
    "numpy.random",
    "torch",
    "torch.optim",
    "torch.utils.data",
    "safetensors.torch",
    "msgspec",
    "xxhash",
    "orjson",
    # clients
    "confluent_kafka.admin",
    "redis",
    "httpx",
    "tritonclient.grpc",
    # servers
    "fastapi",
    "fastapi.responses",
    "fastapi_offline",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
    "sse_starlette",
    "grpc.aio",
    "grpc_health.v1.health",
    "grpc_reflection.v1alpha.reflection",
    "typer",
    "rich.console",
    # Headrace, each with what it is built on
    "headrace.runtime.lifecycle",
    "headrace.runtime.kafka",
    "headrace.runtime.web",
    "headrace.contracts.events_pb2",
    "headrace.contracts.ingest_pb2_grpc",
    "headrace.contracts.oip.service_pb2_grpc",
    "headrace.contracts.oip.tensors",
    "headrace.contracts.snapshot",
    "headrace.model.pipeline",
    "headrace.model.port",
    "headrace.streams.app",
    "headrace.streams.pipeline",
    "headrace.streams.transactions",
    "headrace.weights.worker.live",
    "headrace.weights.host.transfer",
    "headrace.weights.publish.publishing",
    "headrace.replay.producing",
)


def import_all(modules: Iterable[str] = MODULES) -> list[str]:
    """Import them in this order; the names of those that cannot be imported here."""
    missing = []
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing
