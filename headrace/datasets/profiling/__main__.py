"""`python -m headrace.datasets.profiling SET [AGAINST]`: a profile as JSON on standard output, in a bounded process."""

import os
import sys
import threading

import msgspec

from headrace.datasets.opening import open_catalogue
from headrace.datasets.profiling.profile import profile_of
from headrace.runtime import logging
from headrace.runtime.errors import ExitCode, HeadraceError
from headrace.runtime.settings import ServiceSettings, load


def main(name: str, against: str) -> int:
    """Print it; returns the exit code."""
    logging.configure("warning")
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        found = profile_of(open_catalogue(load(ServiceSettings, "headrace")), name, against)
    except HeadraceError as error:
        sys.stdout.buffer.write(msgspec.json.encode({"error": str(error)}))
        return int(error.exit_code)
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return int(ExitCode.OK)


def _die_with_parent() -> None:
    """End when standard input closes, as it does when the service dies that started this."""
    if not sys.stdin.isatty():
        while os.read(0, 4096):
            pass
        os._exit(int(ExitCode.INTERNAL))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
