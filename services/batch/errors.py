"""Errors of requests, with the HTTP status of their answer. None of them ends the process."""


class BatchError(Exception):
    """A request that cannot be answered."""

    status = 500


class BadRequestError(BatchError):
    """The caller's request is wrong."""

    status = 400


class ForbiddenError(BatchError):
    """A path leads out of the folder that jobs may read."""

    status = 403


class UnknownError(BatchError):
    """There is no such job, or no such file of it."""

    status = 404


class ConflictError(BatchError):
    """The job is not in the state that the request needs."""

    status = 409


class TooLargeError(BatchError):
    """The body or the files are larger than the settings allow."""

    status = 413


class KeyReusedError(BatchError):
    """The Idempotency-Key was used for another request."""

    status = 422


class BusyError(BatchError):
    """As many jobs wait as the settings allow."""

    status = 429
