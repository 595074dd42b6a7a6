"""Metrics that every service of jobs has."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.jobs.records import Record


class JobMetrics:
    """Counts jobs and requests as headrace_<role>_...; see `headrace.jobs.manager.Observer`."""

    def __init__(self, role: str) -> None:
        def name(what: str) -> str:
            return f"headrace_{role}_{what}"

        self._requests = Counter(name("requests"), "Requests answered.", ["route", "status"])
        self._submitted = Counter(name("submitted_jobs"), "Jobs that were accepted.")
        self._finished = Counter(
            name("finished_jobs"), "Jobs that ended, by state: done, failed or cancelled.", ["state"]
        )
        self._running = Gauge(name("running_jobs"), "Jobs that run now.")
        self._waiting = Gauge(name("waiting_jobs"), "Jobs that wait for their turn.")
        self._seconds = Histogram(
            name("job_seconds"),
            "Time from a job's start to its end.",
            buckets=(1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
        )

    def request(self, route: str, status: int, _: float) -> None:
        """See `headrace.runtime.rest.Observe`."""
        self._requests.labels(route, str(status)).inc()

    def submitted(self) -> None:
        """A job was taken."""
        self._submitted.inc()

    def counted(self, waiting: int, running: int) -> None:
        """So many wait and run now."""
        self._waiting.set(waiting)
        self._running.set(running)

    def ended(self, record: Record, seconds: float) -> None:
        """A job is over, after running for so long."""
        self._finished.labels(str(record.state)).inc()
        self._seconds.observe(seconds)
