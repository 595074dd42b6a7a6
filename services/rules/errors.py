"""Errors of requests about rules, with the HTTP status of their answer. None of them ends the process."""


class RulesError(Exception):
    """A request that cannot be answered."""

    status = 500


class BadRequestError(RulesError):
    """The caller's request is wrong."""

    status = 400


class ForbiddenError(RulesError):
    """The token is not that of the step."""

    status = 403


class UnknownError(RulesError):
    """There is no such rule, run or step."""

    status = 404


class ConflictError(RulesError):
    """The run is not in the state that the request needs."""

    status = 409
