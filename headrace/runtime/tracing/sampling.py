"""Which traces are written: what OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say, decided without a span."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.runtime.logging import get_logger

log = get_logger("headrace.tracing")

SAMPLER, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
DEFAULT = "parentbased_always_on"

_PARENT = "parentbased_"
_SHARES = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_RANDOM_BITS = 64  # of a trace id, the low ones: a share of all ids is those below a bound


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where something stands in a trace. A `span_id` of 0 has no parent; `state` is the caller's tracestate."""

    trace_id: int
    span_id: int = 0
    sampled: bool = True
    state: str = ""


def parse(traceparent: str) -> TraceContext | None:
    """A caller's place, of a `traceparent` (W3C Trace Context); None where it is none."""
    found = _HEADER.fullmatch(traceparent.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, bool(int(found[4], 16) & 1))


class Sampling:
    """Decides.

    Args:
        sampler: a name of the OpenTelemetry specification: always_on, always_off, traceidratio, or one of these after
            parentbased_, which does as the caller does where there is one.
        share: of traces, where the name is a traceidratio.

    Attributes:
        follows_caller: whether a caller that has decided is followed.
        on: False writes nothing, whatever the sampler says.
    """

    def __init__(self, sampler: str = DEFAULT, share: float = 1.0) -> None:
        self.on = True
        self.follows_caller = sampler.startswith(_PARENT)
        fixed = _SHARES[sampler.removeprefix(_PARENT)]
        self.share = share if fixed is None else fixed

    @property
    def share(self) -> float:
        """Of the traces that this process decides on."""
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        self._share = share
        self._bound = round(share * (1 << _RANDOM_BITS))

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Sampling":
        """What the environment says; a value that is none is logged, and the default used, as OpenTelemetry does."""
        name = environ.get(SAMPLER, "").strip().lower() or DEFAULT
        if name.removeprefix(_PARENT) not in _SHARES:
            log.warning("no such sampler", variable=SAMPLER, value=name, used=DEFAULT)
            name = DEFAULT
        return cls(name, _share(environ.get(ARGUMENT, "").strip() or "1"))

    def decide(self, traceparent: str = "") -> TraceContext | None:
        """The place in a trace of what a caller asks for; None where no spans are written of it."""
        if not self.on:
            return None
        caller = parse(traceparent) if traceparent else None
        if caller is None:
            trace_id = random.getrandbits(128) or 1
            found = TraceContext(trace_id) if self._wants(trace_id) else None
        elif caller.sampled if self.follows_caller else self._wants(caller.trace_id):
            found = caller
        else:
            found = None
        return found

    def _wants(self, trace_id: int) -> bool:
        return trace_id & ((1 << _RANDOM_BITS) - 1) < self._bound


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if 0.0 <= share <= 1.0:
        return share
    log.warning("no share from 0 to 1", variable=ARGUMENT, value=text, used=1.0)
    return 1.0
