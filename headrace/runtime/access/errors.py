"""Why a request is refused. Each becomes an answer; none ends a process."""


class Refused(Exception):  # noqa: N818 - the base of the refusals, and not one itself
    """Base. `status` is the HTTP status, `grpc` the gRPC status code."""

    status = 403
    grpc = 7


class Unauthenticated(Refused):
    """No credential, or one that is not valid."""

    status = 401
    grpc = 16


class Forbidden(Refused):
    """A valid credential without the scope."""


class TooManyRequests(Refused):
    """The key's rate is used up."""

    status = 429
    grpc = 8

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
