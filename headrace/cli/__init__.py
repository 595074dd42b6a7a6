"""The command line, `headrace`.

`main` is the entry point. Each command is a module of its own, imported when it is asked for, so that `headrace --help`
and shell completion answer at once: torch, gRPC and Kafka are loaded by the commands that need them.
"""


def main() -> None:
    """Run `headrace` with the process's arguments; exits with the command's code."""
    from headrace.cli.catalogue import application

    application()(prog_name="headrace")
