"""The request parameters `timeout` and `priority`, by the protocol's names and with Triton's meaning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.inference.oip.messages import InvalidRequest

_MOST_US = 10**12


@dataclass(frozen=True, slots=True)
class Priorities:
    """Which priorities there are: 1 to `levels`, 1 first. Requests that name none, or another, have the default."""

    levels: int = 3
    default: int = 2

    def of(self, parameters: Mapping[str, Any]) -> int:
        """A request's priority.

        Raises:
            InvalidRequest: it is no integer.
        """
        wanted = _integer(parameters, "priority")
        return wanted if 1 <= wanted <= self.levels else self.default


def timeout_of(parameters: Mapping[str, Any]) -> int:
    """Microseconds for which a request may wait to be executed; 0 is for ever.

    Raises:
        InvalidRequest: it is no integer.
    """
    return min(_integer(parameters, "timeout"), _MOST_US)


def _integer(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if type(value) is not int or value < 0:
        raise InvalidRequest(f"parameter '{name}' must be an integer of 0 or more")
    return value
