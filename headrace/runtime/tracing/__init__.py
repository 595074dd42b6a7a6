"""OpenTelemetry traces, by the standard environment; docs/observability.md says which variables.

`Sampling` decides whether something is traced, from its ids alone and without OpenTelemetry. `Tracing` writes the spans
of what is, once it is over, so that nothing but the decision is paid before. Where no collector is named there is no
`Tracing`, and OpenTelemetry is not imported.
"""

from headrace.runtime.tracing.sampling import Sampling, TraceContext, parse
from headrace.runtime.tracing.start import start_tracing

__all__ = ["Sampling", "TraceContext", "parse", "start_tracing"]
