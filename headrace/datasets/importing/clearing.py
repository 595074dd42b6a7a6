"""What an import has needed on the way, removed once it is over; the list of its bad rows stays."""

import shutil
from pathlib import Path

from headrace.datasets.importing.job import Files, ImportJob


def clear(job: ImportJob) -> None:
    """Remove work folders, and an uploaded file that is the import's own."""
    if not job.path.exists():
        return
    for path in job.path.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
    if isinstance(job.source, Files):
        for name in job.source.paths:
            if Path(name).parent == job.path:
                Path(name).unlink(missing_ok=True)
