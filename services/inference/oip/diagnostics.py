"""The protocol's diagnostic settings: logging, which is the process's own, and tracing, which is not served."""

import logging
from collections.abc import Mapping
from typing import Any

from services.inference.oip.messages import InvalidRequest, Unsupported

_SILENT = logging.CRITICAL + 10

TRACE_SETTINGS: dict[str, Any] = {
    "trace_file": "",
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_mode": "triton",
}


class LogSettings:
    """What is logged, by the protocol's names."""

    def __init__(self) -> None:
        level = logging.getLogger().getEffectiveLevel()
        self._settings: dict[str, bool | int | str] = {
            "log_file": "",
            "log_info": level <= logging.INFO,
            "log_warning": level <= logging.WARNING,
            "log_error": level <= logging.ERROR,
            "log_verbose_level": int(level <= logging.DEBUG),
            "log_format": "default",
        }

    def update(self, wanted: Mapping[str, Any]) -> dict[str, bool | int | str]:
        """Change settings, all or none, and return them all; nothing changes for an empty `wanted`.

        Raises:
            InvalidRequest: there is no such setting, or it takes another type.
            Unsupported: the log's file or format, which the process's own settings decide.
        """
        for name, value in wanted.items():
            if name not in self._settings:
                raise InvalidRequest(f"Unknown log setting '{name}'")
            if type(value) is not type(self._settings[name]):
                raise InvalidRequest(f"log setting '{name}' cannot be {value!r}")
            if isinstance(value, str) and value != self._settings[name]:
                raise Unsupported(f"log setting '{name}' is set by the process's --log-format and its standard error")
        if wanted:
            self._settings |= wanted
            logging.getLogger().setLevel(self._level())
        return dict(self._settings)

    def _level(self) -> int:
        if self._settings["log_verbose_level"]:
            return logging.DEBUG
        levels = (("log_info", logging.INFO), ("log_warning", logging.WARNING), ("log_error", logging.ERROR))
        return next((level for name, level in levels if self._settings[name]), _SILENT)


def trace_settings(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The trace settings, which stay as they are.

    Raises:
        Unsupported: another value is wanted.
    """
    for name, value in wanted.items():
        if value not in (None, [], TRACE_SETTINGS.get(name)):
            raise Unsupported(
                f"trace setting '{name}' cannot be changed: requests are not traced through this protocol"
            )
    return dict(TRACE_SETTINGS)
