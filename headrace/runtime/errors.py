"""Headrace's errors, and the exit code that a process ends with when it raises one.

HeadraceError                  70  a bug of ours, as any other exception is
├── ConfigError                 2  a setting or flag is wrong: starting again changes nothing
│   └── PipelineError           2  pipeline.yaml or model.py is wrong; the message names file, line and field
├── DependencyError             3  Kafka, Redis or storage cannot be reached: starting again may help
│   └── PlatformError           3  the local platform could not start, or died
├── FencedError                 4  a newer instance has taken over, so this one must not go on
├── DataError                   5  too many records of a topic cannot be processed
└── WeightsError                6  a checkpoint is missing, damaged, unsigned or does not fit the model
    └── StoreUnavailable        3  a chunk store does not answer (headrace/weights/errors.py, with the other kinds)

A process that did what it was asked ends with 0. One that is killed by its own deadline or by a second signal while it
stops ends with 75. Errors of a single request (services/gateway/errors.py, services/inference/oip/messages.py) become
answers and end no process.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a process's exit code means."""

    OK = 0
    CONFIG = 2
    DEPENDENCY = 3
    FENCED = 4
    DATA = 5
    WEIGHTS = 6
    INTERNAL = 70
    DEADLINE = 75  # an orderly stop did not finish in time, or was cut short by a second signal


class HeadraceError(Exception):
    """Base of all errors that Headrace raises on purpose.

    `message` says what was wrong and where; `hint` says what to do about it.
    """

    exit_code = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(HeadraceError):
    """A setting or flag is wrong."""

    exit_code = ExitCode.CONFIG


class PipelineError(ConfigError):
    """A pipeline folder is wrong."""


class DependencyError(HeadraceError):
    """Kafka, Redis or storage cannot be reached, or refused a request."""

    exit_code = ExitCode.DEPENDENCY


class PlatformError(DependencyError):
    """The local platform could not start, or died."""


class FencedError(HeadraceError):
    """A newer instance has taken over."""

    exit_code = ExitCode.FENCED


class DataError(HeadraceError):
    """Too many records cannot be processed."""

    exit_code = ExitCode.DATA


class WeightsError(HeadraceError):
    """A checkpoint is missing, damaged, refused, or does not fit the model."""

    exit_code = ExitCode.WEIGHTS
