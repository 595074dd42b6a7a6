"""Makes a process's `Tracing` of the standard environment's variables."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrace import __version__
from headrace.runtime.logging import get_logger
from headrace.runtime.tracing.sampling import Sampling

if TYPE_CHECKING:
    from headrace.runtime.tracing.spans import Tracing

log = get_logger("headrace.tracing")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER, DISABLED = "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"
SERVICE, RESOURCE = "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"


def start_tracing(role: str, instance: str, environ: Mapping[str, str] = os.environ) -> "Tracing | None":
    """What writes this process's spans; None where the environment names no collector, or wants no traces.

    A missing package or a value that is not supported is logged, and nothing is traced.
    """
    wanted = environ.get(EXPORTER, "otlp").strip() or "otlp"
    disabled = environ.get(DISABLED, "").strip().lower() == "true"
    if disabled or wanted == "none" or not _first(environ, ENDPOINTS):
        return None
    if wanted != "otlp":
        log.warning("nothing is traced: no such exporter", variable=EXPORTER, value=wanted)
        return None
    try:
        return _start(role, instance, environ)
    except ImportError as error:
        log.warning("nothing is traced: a package is missing", error=str(error), hint="pip install headrace[otel]")
    except ValueError as error:
        log.warning("nothing is traced", error=str(error))
    return None


def _start(role: str, instance: str, environ: Mapping[str, str]) -> "Tracing":
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from headrace.runtime.tracing.spans import Tracing

    protocol = _first(environ, PROTOCOLS) or "grpc"
    exporter = _exporter(protocol)
    known = environ.get(RESOURCE, "") + (",service.name=" if environ.get(SERVICE) else "")
    said = {"service.name": f"headrace-{role}", "service.version": __version__, "service.instance.id": instance}
    resource = {name: value for name, value in said.items() if f"{name}=" not in known}
    tracing = Tracing(Sampling.of(environ), BatchSpanProcessor(exporter), resource)
    log.info("tracing", protocol=protocol, share=tracing.sampling.share)
    return tracing


def _exporter(protocol: str) -> Any:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as by_grpc

        return by_grpc.OTLPSpanExporter()
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http import trace_exporter as by_http

        return by_http.OTLPSpanExporter()
    raise ValueError(f"{PROTOCOLS[1]} '{protocol}' is neither grpc nor http/protobuf")


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environ.get(name, "").strip())), "")
