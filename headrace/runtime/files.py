"""What makes files durable."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make names that were added to or removed from `folder` durable.

    Raises:
        OSError: the storage refuses.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
