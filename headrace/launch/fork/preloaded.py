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
    # clients and the command line
    "confluent_kafka.admin",
    "typer",
    "rich.console",
    # Headrace, each with what it is built on
    "headrace.runtime.lifecycle",
    "headrace.runtime.kafka",
    "headrace.contracts.events_pb2",
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
"""What the roles need that a first prediction waits for."""
ANSWERING_MODULES = (
    "redis",
    "httpx",
    "tritonclient.grpc",
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
    "headrace.runtime.web",
    "headrace.contracts.ingest_pb2_grpc",
    "headrace.contracts.oip.service_pb2_grpc",
    "headrace.contracts.oip.tensors",
    "headrace.contracts.snapshot",
)
"""What the roles need that answer requests: imported before the first of them is forked."""


def import_all(modules: Iterable[str]) -> list[str]:
    """Import them in this order; the names of those that cannot be imported here."""
    missing = []
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing
