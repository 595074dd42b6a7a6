"""Errors of requests about jobs, with the HTTP status of their answer. None of them ends the process."""


class JobError(Exception):
    """A request that cannot be answered."""

    status = 500


class BadRequestError(JobError):
    """The caller's request is wrong."""

    status = 400


class ForbiddenError(JobError):
    """A path leads out of the folder that jobs may read."""

    status = 403


class UnknownError(JobError):
    """There is no such job, or no such file of it."""

    status = 404


class ConflictError(JobError):
    """The job is not in the state that the request needs."""

    status = 409


class TooLargeError(JobError):
    """The body or the files are larger than the settings allow."""

    status = 413


class KeyReusedError(JobError):
    """The Idempotency-Key was used for another request."""

    status = 422


class BusyError(JobError):
    """As many jobs wait as the settings allow."""

    status = 429
