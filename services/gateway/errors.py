"""Errors of requests to the gateway, with the HTTP status of their answer. None of them ends the process."""


class GatewayError(Exception):
    """A request that the gateway cannot answer."""

    status = 500


class BadRequestError(GatewayError):
    """The caller's request is wrong."""

    status = 400


class UnknownError(GatewayError):
    """There is no such pipeline, model, or stream of predictions."""

    status = 404


class ConflictError(GatewayError):
    """What was asked for cannot be done as things are."""

    status = 409


class TooLargeError(GatewayError):
    """The body is larger than `max_request_bytes`."""

    status = 413


class BusyError(GatewayError):
    """The gateway has as many readers as its settings allow."""

    status = 429


class UnavailableError(GatewayError):
    """The role that would answer is not running, or not ready."""

    status = 503


class DeadlineError(GatewayError):
    """The role that would answer did not answer in time."""

    status = 504


class RefusedError(GatewayError):
    """The role that answers refused the request; its status and reason are passed on."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
