"""Errors of single requests. They become answers (`status`) and end no process."""


class LabellingError(Exception):
    """A request that cannot be answered."""

    status = 500


class BadRequestError(LabellingError):
    """The request is wrong; `field` is where, in a label."""

    status = 400

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class UnknownError(LabellingError):
    """There is no such queue or item."""

    status = 404


class ConflictError(LabellingError):
    """Somebody else has the item, or it is not in the state that the request needs."""

    status = 409


class TooLargeError(LabellingError):
    """The body is larger than the settings allow."""

    status = 413


class UnavailableError(LabellingError):
    """What was asked for cannot be made durable now."""

    status = 503
