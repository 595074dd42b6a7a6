"""The command line, `headrace`.

`main` is the entry point. Each command is a module of its own, imported when it is asked for, so that `headrace --help`
and shell completion answer at once: torch, gRPC and Kafka are loaded by the commands that need them.
"""

import sys
from collections.abc import Callable


def main() -> None:
    """Run `headrace` with the process's arguments; exits with the command's code."""

    def command() -> None:
        from headrace.cli.catalogue import application

        application()(prog_name="headrace", obj=log_to_stderr)

    guarded(command)


def log_to_stderr() -> None:
    """Let warnings of what a command uses go to standard error: standard output is for the command's own answer."""
    from headrace.runtime import logging

    logging.configure("warning")


def guarded(command: Callable[[], None]) -> None:
    """Run a command. What it raises is shown without secrets, in a few lines, and decides the process's exit code."""
    from headrace.runtime import crashes, secrets
    from headrace.runtime.errors import ExitCode, HeadraceError

    secrets.learn_process(sys.argv[1:])
    secrets.guard_stderr()
    crashes.report_all()
    try:
        command()
    except HeadraceError as error:
        from headrace.cli.catalogue import show

        show(error)
        sys.exit(int(error.exit_code))
    except Exception as error:  # noqa: BLE001 - the edge of the process
        crashes.to_stderr("crashed", error)
        sys.exit(int(ExitCode.INTERNAL))
