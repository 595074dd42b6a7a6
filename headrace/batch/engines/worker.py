"""`python -m headrace.batch.engines.worker FOLDER`: does the parts whose numbers arrive on standard input, a line each.

It answers on standard output, a JSON line for each batch of rows and for each part, and ends at the end of its input.
"""

import os
import signal
import sys
from pathlib import Path

import msgspec

from headrace.batch.engines.local import Done, Failed, Message, Progress
from headrace.batch.engines.runner import PartRunner, one_thread
from headrace.runtime import logging
from headrace.runtime.errors import ExitCode, HeadraceError
from headrace.runtime.secrets import clean


def main(folder: str) -> int:
    """Work until standard input ends; returns the exit code."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a model prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who then ends this process
    logging.configure("warning")
    one_thread()

    def answer(message: Message) -> None:
        os.write(answers, msgspec.json.encode(message) + b"\n")

    try:
        runner = None
        for line in sys.stdin.buffer:
            runner = runner or PartRunner(Path(folder))
            answer(Done(runner.run(int(line), lambda read, bad: answer(Progress(read, bad)))))
    except BrokenPipeError:  # the parent is gone
        return int(ExitCode.INTERNAL)
    except HeadraceError as error:
        answer(Failed(error.message, error.hint, int(error.exit_code)))
    except Exception as error:  # noqa: BLE001 - the edge of the process
        answer(Failed(clean(f"{type(error).__name__}: {error}"), "", int(ExitCode.INTERNAL)))
    return int(ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
