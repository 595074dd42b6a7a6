"""Structured logs: readable lines on a terminal, JSON for collectors; everything on standard error."""

import logging
import sys
from typing import Any, Literal

import structlog

Logger = structlog.stdlib.BoundLogger

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(style)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for chatty in ("faust", "mode", "uvicorn.access", "asyncio", "httpx", "aiokafka"):
        logging.getLogger(chatty).setLevel(max(_LEVELS[level], logging.WARNING))


def leave_to_host() -> None:
    """Hand events to the standard library's loggers and configure nothing else: for a process that is not Headrace's.

    Does nothing where structlog is configured already.
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
        return [drop, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    return [drop, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def get_logger(name: str) -> Logger:
    """A logger whose keyword arguments become fields."""
    return structlog.stdlib.get_logger(name)
