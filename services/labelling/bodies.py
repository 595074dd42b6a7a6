"""Bodies of requests, checked, and how the documentation of routes says them."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from services.labelling.errors import BadRequestError

Labeller = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Who: a name or an address."""


class Who(msgspec.Struct, forbid_unknown_fields=True):
    """Who does it."""

    labeller: Labeller


class LeaseBody(Who, forbid_unknown_fields=True):
    """Asking for an item."""

    review: Literal["also", "only", "never"] = "also"
    fresh: bool = False


class LabelBody(Who, forbid_unknown_fields=True):
    """Giving a label: its fields without the key."""

    label: dict[str, Any]


class ReviewBody(Who, forbid_unknown_fields=True):
    """Reviewing: a label of one's own, or agreeing with the first."""

    label: dict[str, Any] | None = None
    accept: bool = False


class SkipBody(Who, forbid_unknown_fields=True):
    """Passing an item over."""

    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


T = TypeVar("T")


def parse(body: bytes, kind: type[T]) -> T:
    """A request's body.

    Raises:
        BadRequestError: it does not fit.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequestError(str(error)) from None


def documented(kind: type[Any]) -> dict[str, Any]:
    """A body for the documentation of a route."""
    (schema,) = msgspec.json.schema_components([kind], ref_template="#/{name}")[1].values()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
