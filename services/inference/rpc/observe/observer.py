"""Follows a request from the moment that it is whole until its answer is written, for those who look at it.

A transport calls `Observer.begin`; of what that returns, `attach` with the request's job, and once one of `answered`,
`failed` and `cancelled`.
"""

import time
from collections.abc import Callable

from headrace.runtime.logging import get_logger
from headrace.runtime.tracing import TraceContext
from services.inference.oip.messages import InferAnswer, OipError
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.observe.access_log import AccessLog
from services.inference.rpc.observe.report import Incoming, Report, shown
from services.inference.rpc.observe.spans import RequestSpans

log = get_logger("headrace.rpc")

Header = Callable[[str], str]
"""A header's value by its name; "" where there is none."""
GONE = 499
"""The status of a request over REST whose caller went away, by the usage of access logs."""


class Seen:
    """One request that somebody looks at, or would if it failed."""

    __slots__ = ("_describe", "_header", "_job", "_logged", "_observer", "_place", "_started")

    def __init__(
        self,
        observer: "Observer",
        header: Header,
        describe: Callable[[], Incoming],
        place: TraceContext | None,
        *,
        logged: bool,
    ) -> None:
        self._observer, self._header, self._describe = observer, header, describe
        self._place, self._logged = place, logged
        self._started = time.perf_counter_ns()
        self._job: Job | None = None

    def attach(self, job: Job) -> None:
        """The request was admitted as this job."""
        self._job = job

    def answered(self, outcome: Outcome, status: str | int, sent: int) -> None:
        """The answer, or the error, was written as so many bytes."""
        if isinstance(outcome, OipError):
            self.failed(str(outcome), status, sent, ours=outcome.http >= 500)
        elif self._place is not None or self._logged:
            self._tell(outcome, status, "", sent, ours=False)

    def failed(self, error: str, status: str | int, sent: int = 0, *, ours: bool = True) -> None:
        """The request was refused, or its answer could not be made."""
        self._logged = self._observer.wants_error(sampled=self._logged)
        if self._place is not None or self._logged:
            self._tell(None, status, error, sent, ours=ours)

    def cancelled(self, status: str | int) -> None:
        """Nobody wants the answer any more."""
        self.failed("the request was cancelled", status, ours=False)

    def _tell(self, answer: InferAnswer | None, status: str | int, error: str, sent: int, *, ours: bool) -> None:
        job, incoming, whose = self._job, self._describe(), ("", "", "")
        self._job = None
        if answer is not None:
            whose = answer.model, str(answer.version), answer.checkpoint
        report = Report(
            incoming,
            whose[0] or shown(incoming.model),
            whose[1] or shown(incoming.version),
            whose[2],
            shown(incoming.id or (job.id if job is not None else "") or self._header("x-request-id")),
            status,
            shown(error),
            ours,
            sent,
            self._started,
            time.perf_counter_ns(),
            job.arrived if job is not None else 0,
            job.table.rows if job is not None else 0,
            job.execution if job is not None else None,
            self._place,
        )
        self._observer.tell(report, logged=self._logged)


class Observer:
    """Decides which requests are looked at, and shows them to traces and the access log, either of which may be None.

    Its methods belong to the event loop's thread.
    """

    def __init__(self, spans: RequestSpans | None, access_log: AccessLog | None) -> None:
        self._spans, self._log = spans, access_log

    def begin(self, header: Header, describe: Callable[[], Incoming]) -> Seen | None:
        """A request is whole; None where nobody looks at it, whatever becomes of it.

        `header` looks its headers up; `describe` is called where the request is shown to anybody.
        """
        place = None if self._spans is None else self._spans.place(header)
        log = self._log
        if log is None and place is None:
            return None
        logged = log is not None and log.wants()
        return Seen(self, header, describe, place, logged=logged)

    def wants_error(self, *, sampled: bool) -> bool:
        """Whether a request that failed goes to the access log."""
        return self._log is not None and (sampled or self._log.wants_error())

    def tell(self, report: Report, *, logged: bool) -> None:
        """A request is over. Raises nothing: its answer is written already."""
        try:
            if report.place is not None and self._spans is not None:
                self._spans.write(report)
            if logged and self._log is not None:
                self._log.write(report)
        except Exception:
            log.exception("a request could not be reported")
