"""Structured logs: readable lines on a terminal, JSON for collectors; everything on standard error, without secrets.

A role calls `guard` first. From then on nothing that it writes to standard error holds a secret, and an uncaught
exception is a log line like others, with a short traceback (headrace/runtime/crashes.py).
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any, Literal

import structlog

from headrace.runtime import crashes, secrets

Logger = structlog.stdlib.BoundLogger

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def guard(argv: Sequence[str], log: Logger) -> None:
    """Learn this process's secrets, keep them out of standard error, and log warnings and uncaught exceptions.

    `argv` are the process's flags, which may hold secrets.
    """
    secrets.learn_process(argv)
    secrets.guard_stderr()
    crashes.report_all(lambda what, error: log.error(what, exc_info=error))
    logging.captureWarnings(capture=True)


def configure(level: str = "info", style: Literal["console", "json"] = "console", **fields: Any) -> None:
    """Set up logging for this process, and route the standard library's through the same formatting.

    `fields` (role, instance) stand on every line.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _with(fields),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(style)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for chatty in ("faust", "mode", "uvicorn.access", "asyncio", "httpx", "aiokafka"):
        logging.getLogger(chatty).setLevel(max(_LEVELS[level], logging.WARNING))


def leave_to_host() -> None:
    """Pass log lines to the standard library's loggers and configure nothing: for processes that are not Headrace's.

    If structlog is configured already, this does nothing.
    """
    if not structlog.is_configured():
        structlog.configure(
            processors=[structlog.stdlib.filter_by_level, structlog.processors.LogfmtRenderer(key_order=["event"])],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )


def _with(fields: dict[str, Any]) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {**fields, **event}

    return add


def _rendering(style: str) -> list[Any]:
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if style == "json":
        return [drop, _render_exception, structlog.processors.JSONRenderer(default=str)]
    return [drop, _render_exception, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _render_exception(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Both styles have the same traceback; structlog's own for the console, made by rich, shows all local variables."""
    found = event.pop("exc_info", None)
    error = found[1] if isinstance(found, tuple) else sys.exc_info()[1] if found is True else found
    if isinstance(error, BaseException):
        event["exception"] = crashes.render(error)
    return event


class _Handler(logging.StreamHandler[Any]):
    """Writes log lines. If one cannot be formatted, the standard library would print its arguments; this does not."""

    _is_failing = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        """Log which line was lost, and why."""
        error = sys.exc_info()[1]
        if error is None or self._is_failing:  # the stream itself fails, so this cannot be written either
            return
        self._is_failing = True
        try:
            where = f"{record.pathname}:{record.lineno}"
            get_logger("headrace.logging").error("a log line was lost", of=record.name, where=where, exc_info=error)
        finally:
            self._is_failing = False


def get_logger(name: str) -> Logger:
    """A logger whose keyword arguments become fields."""
    return structlog.stdlib.get_logger(name)
