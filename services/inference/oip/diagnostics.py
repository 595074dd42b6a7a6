"""The protocol's diagnostic settings: logging and tracing, both of which are the process's own."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from services.inference.oip.messages import InvalidRequest, Unsupported

_SILENT = logging.CRITICAL + 10
_RATE_DIGITS = 9

_TRACE_SETTINGS: dict[str, Any] = {
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


class Sampling(Protocol):
    """Which requests are traced; `headrace.runtime.tracing.Sampling` is one."""

    on: bool

    @property
    def share(self) -> float:
        """Of the requests whose callers have not decided."""
        ...

    @share.setter
    def share(self, share: float) -> None: ...


class TraceSettings:
    """What is traced, by the protocol's names.

    `trace_level` is TIMESTAMPS or OFF, and one of `trace_rate` requests is traced whose caller has not decided; 0 is
    none. The other settings are fixed.

    Args:
        sampling: None where no collector is named; then nothing can be changed.
    """

    def __init__(self, sampling: Sampling | None = None) -> None:
        self._sampling = sampling
        self._first = (sampling.on, sampling.share) if sampling is not None else (False, 0.0)

    def update(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings, all or none, and return them all; a value of None or [] is the first one again.

        Raises:
            InvalidRequest: a value is none.
            Unsupported: this setting cannot be changed here.
        """
        on, share = self._current()
        for name, value in wanted.items():
            if name == "trace_level" and self._sampling is not None:
                on = _level(value) if value else self._first[0]
            elif name == "trace_rate" and self._sampling is not None:
                share = _share(value) if value not in (None, []) else self._first[1]
            elif value not in (None, [], self._shown(on, share).get(name)):
                raise Unsupported(f"trace setting '{name}' cannot be changed: {self._why}")
        if self._sampling is not None:
            self._sampling.on, self._sampling.share = on, share
        return self._shown(on, share)

    @property
    def _why(self) -> str:
        if self._sampling is None:
            return "requests are not traced, since the process's environment names no collector"
        return "traces go to the collector that the process's environment names"

    def _current(self) -> tuple[bool, float]:
        return self._first if self._sampling is None else (self._sampling.on, self._sampling.share)

    def _shown(self, on: bool, share: float) -> dict[str, Any]:  # noqa: FBT001 - a value among values
        if self._sampling is None:
            return dict(_TRACE_SETTINGS)
        level, rate = ["TIMESTAMPS" if on else "OFF"], str(round(1 / share) if share else 0)
        return {**_TRACE_SETTINGS, "trace_level": level, "trace_rate": rate, "trace_mode": "opentelemetry"}


def _level(value: Any) -> bool:
    levels = [value] if isinstance(value, str) else value
    if levels not in (["TIMESTAMPS"], ["OFF"]):
        raise InvalidRequest(f"trace setting 'trace_level' cannot be {value!r}: it is TIMESTAMPS or OFF")
    return bool(levels == ["TIMESTAMPS"])


def _share(value: Any) -> float:
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > _RATE_DIGITS:
        raise InvalidRequest(f"trace setting 'trace_rate' cannot be {value!r}: it is an integer of 0 or more")
    return 1 / int(text) if int(text) else 0.0
