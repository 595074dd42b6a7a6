"""`python -m services.archive --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.archive.app import build
from services.archive.settings import ArchiveSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `archive`; returns its exit code."""
    return run_role("archive", ArchiveSettings, build, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
