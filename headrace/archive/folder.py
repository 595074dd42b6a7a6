"""Where an archive is: a folder for each table, and in it one for each topic that the table was made from.

A topic that was deleted and made again begins at offset 0 once more; Kafka gives it a new id, and so it has a folder of
its own here.
"""

from pathlib import Path

from headrace.archive.segments.listing import Listing, list_segments
from headrace.runtime.files import sync_folder

ARCHIVES = "archive"
MINUTES, HOURS = "metrics.minutes", "metrics.hours"


def root_of(storage: Path, pipeline: str) -> Path:
    """The folder of a pipeline's archive on shared storage."""
    return storage / ARCHIVES / pipeline


def topic_folder(root: Path, table: str, topic_id: str) -> Path:
    """The folder of a table's segments of one topic; made, durably, if it is not there."""
    folder = root / table / topic_id
    for made in (root, root / table, folder):
        if not made.exists():
            made.mkdir(parents=True, exist_ok=True)
            sync_folder(made.parent)
    return folder


def topic_folders(root: Path, table: str) -> list[Path]:
    """The folders of a table's segments."""
    try:
        return sorted(path for path in (root / table).iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def listings(root: Path, table: str) -> list[Listing]:
    """The segments of a table, by topic.

    Raises:
        DependencyError: two segments hold some of the same records.
    """
    return [list_segments(folder) for folder in topic_folders(root, table)]
