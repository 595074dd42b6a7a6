"""The access log: a line for a share of the requests, and for those that fail.

Failed requests are logged at most so often in a second; the next line that is says how many were left out.
"""

import random
import time
from collections.abc import Callable

from headrace.runtime.logging import get_logger
from services.inference.rpc.observe.report import Report

log = get_logger("headrace.rpc.access")


class AccessLog:
    """Decides which requests are logged, and writes the lines.

    Args:
        share: of the requests, whatever becomes of them; 0 logs those that fail alone.
        errors_per_s: requests that fail beside the share, at most.
        clock: monotonic seconds.
    """

    def __init__(self, share: float, errors_per_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._per_s, self._clock = share, errors_per_s, clock
        self._most = max(1.0, errors_per_s) if errors_per_s else 0.0
        self._left, self._at = self._most, clock()
        self._suppressed = 0

    def wants(self) -> bool:
        """Whether the next request is one of the share."""
        return random.random() < self._share  # noqa: S311 - nothing is kept secret by it

    def wants_error(self) -> bool:
        """Whether a request that failed is logged now."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1.0:
            self._suppressed += 1
            return False
        self._left -= 1.0
        return True

    def write(self, report: Report) -> None:
        """Log a request."""
        fields = {
            "transport": report.incoming.transport,
            "method": report.incoming.method,
            "model": report.model,
            "version": report.version,
            "status": report.status,
            "request_id": report.request_id,
            "peer": report.incoming.peer,
            "received_bytes": report.incoming.received,
            "sent_bytes": report.sent,
            "events": report.events,
            "total_ms": _ms(report.ended - report.started),
            **{f"{stage}_ms": _ms(ns) for stage, ns in report.stages().items()},
        }
        if report.place is not None:
            fields["trace_id"] = f"{report.place.trace_id:032x}"
        if not report.error:
            log.info("request", **fields)
            return
        if self._suppressed:
            fields["errors_left_out"], self._suppressed = self._suppressed, 0
        log.warning("request", error=report.error, **fields)


def _ms(ns: int) -> float:
    return round(ns * 1e-6, 3)
