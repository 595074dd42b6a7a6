"""`python -m headrace.archive.fields FOLDER`: the fields of a pipeline, as JSON on standard output."""

import contextlib
import sys
from pathlib import Path

import msgspec

from headrace.archive.fields.pipeline import load_fields
from headrace.runtime.errors import HeadraceError


def main(folder: str) -> int:
    """Print them; returns the exit code. What the author's code prints goes to standard error."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = load_fields(Path(folder))
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
