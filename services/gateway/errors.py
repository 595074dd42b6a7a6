"""What a caller of the gateway is told, with the HTTP status to say it with."""


class GatewayError(Exception):
    """A request that the gateway cannot answer."""

    status = 500


class BadRequestError(GatewayError):
    """The caller's request is wrong."""

    status = 400


class UnknownError(GatewayError):
    """No such pipeline, model, or stream of predictions."""

    status = 404


class TooLargeError(GatewayError):
    """The body is larger than the gateway takes."""

    status = 413


class BusyError(GatewayError):
    """As many readers as the gateway takes are there."""

    status = 429


class UnavailableError(GatewayError):
    """The role that would answer is not there, or not ready."""

    status = 503


class DeadlineError(GatewayError):
    """The role that would answer did not do so in time."""

    status = 504


class RefusedError(GatewayError):
    """The role that answers refused; its status and reason are passed on."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
