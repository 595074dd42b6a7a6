"""What the role does by itself: finishing what died, the watched folder, retention, and uploads that nobody ends."""

import asyncio
import contextlib

from headrace.datasets.opening import Access
from headrace.datasets.watched import Arrived, WatchedFolder
from headrace.jobs.errors import BusyError
from headrace.jobs.manager import Jobs
from headrace.jobs.records import State
from headrace.runtime.errors import HeadraceError
from headrace.runtime.logging import get_logger
from services.datasets import metrics
from services.datasets.records import ImportRecord
from services.datasets.settings import DatasetsSettings
from services.datasets.submission import Submission

log = get_logger("headrace.sets")

_RETRY_S = 5.0
_EVERY_S = 3600.0


class Upkeep:
    """Runs beside the REST edge, in its event loop."""

    def __init__(
        self, settings: DatasetsSettings, access: Access, jobs: Jobs[ImportRecord], submission: Submission
    ) -> None:
        self._settings, self._access, self._jobs, self._submission = settings, access, jobs, submission
        self._folder = WatchedFolder(settings.watch_dir.resolve()) if settings.watch_dir is not None else None

    async def run(self) -> None:
        """Work until it is cancelled."""
        await asyncio.gather(self._tidy(), self._watch())

    async def _tidy(self) -> None:
        while True:
            pause = _EVERY_S
            try:
                self._submission.uploads.sweep(self._settings.upload_keep_s)
                done = await asyncio.to_thread(self._access.catalogue.tidy, self._access.announcer)
                if any(done.values()):
                    log.info("finished what was left", **done)
                if self._settings.keep_versions:
                    await asyncio.to_thread(self._retain)
            except HeadraceError as error:
                log.warning("upkeep failed and is tried again", error=str(error))
                pause = _RETRY_S
            await asyncio.sleep(pause)

    def _retain(self) -> None:
        from headrace.datasets.retention import apply_retention

        for name in self._access.catalogue.names():
            gone, _ = apply_retention(self._access, name, self._settings.keep_versions)
            metrics.REMOVED.inc(len(gone))
            if gone:
                log.info("removed old versions", sets=gone)

    async def _watch(self) -> None:
        if self._folder is None:
            return
        while True:
            try:
                for arrived in await asyncio.to_thread(self._folder.arrived):
                    self._take(self._folder, arrived)
            except OSError as error:
                log.warning("the watched folder cannot be read", folder=str(self._folder.root), error=str(error))
            await asyncio.sleep(self._settings.watch_every_s)

    def _take(self, folder: WatchedFolder, arrived: Arrived) -> None:
        """Submit a file's import; once that is over, move the file. Its key finds the import again after a restart."""
        record = self._submission.watched(arrived.name, arrived.path, arrived.key)
        known = self._jobs.known(arrived.key, record.request)
        if known is None:
            self._jobs.folder.begin(record.id)
            try:
                self._jobs.submit(record)
            except BusyError:
                self._jobs.folder.remove(record.id)  # at the next look
        elif known.state is State.DONE:
            with contextlib.suppress(FileNotFoundError):
                folder.imported(arrived.path)
        elif known.state.over:
            reason = "\n".join(
                [known.error, *(f"{row['place']}: {row['field']}: {row['problem']}" for row in known.bad_rows)]
            )
            with contextlib.suppress(FileNotFoundError):
                folder.refused(arrived.path, reason)
