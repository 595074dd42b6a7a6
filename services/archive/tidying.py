"""Keeping the archive in order: merging, folding and removing, in rounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from headrace.archive.folder import HOURS, MINUTES, topic_folders
from headrace.archive.segments.listing import list_segments
from headrace.archive.segments.manifest import Manifest, read_manifest
from headrace.archive.segments.merging import Plan, merge_folder
from headrace.archive.segments.removing import Kept, covered_by, remove, too_much, too_old
from headrace.archive.segments.writing import Step, ignore
from headrace.archive.series.days import DAY_MS, day_of, list_days
from headrace.archive.series.keeping import Folding
from headrace.archive.series.samples import ORDER, MetricsTable
from headrace.archive.tables import Table
from services.archive import metrics

_SORTED_BYTES = 8 << 20  # of samples: they are sorted as a whole, in memory


@dataclass(frozen=True)
class Keeping:
    """For how long and up to how much things are kept."""

    records_days: float
    records_bytes: int
    samples_days: int
    minutes_days: int
    hours_days: int
    grace_s: float


@dataclass
class Tidying:
    """One archive's rounds. Only the holder of the archive's lock may run them.

    Args:
        root: the archive's folder.
        tables: of the pipeline's records.
        plan: when segments are merged.
        keeping: how long they are kept.
        step: is told of each durable step.
    """

    root: Path
    tables: Sequence[Table]
    plan: Plan
    keeping: Keeping
    step: Step = ignore
    _manifests: dict[Path, Manifest] = field(default_factory=dict)

    def round(self, now_s: float) -> None:
        """Do everything that is due at `now_s`, in seconds since the epoch.

        Raises:
            OSError: the storage refuses.
            DependencyError: a file is damaged.
        """
        for table in self.tables:
            self._merge(table.name, self.plan, ())
            self._remove_records(table.name, now_s)
        self._merge(MetricsTable.name, replace(self.plan, target=min(self.plan.target, _SORTED_BYTES)), ORDER)
        folding = Folding(self.root, self.step)
        folding.fold_days(int(now_s * 1000))
        folding.merge_months(int(now_s * 1000))
        self._remove_samples(folding, now_s)
        for name, days in ((MINUTES, self.keeping.minutes_days), (HOURS, self.keeping.hours_days)):
            self._remove_days(self.root / name, days, now_s)

    def _merge(self, table: str, plan: Plan, order: Sequence[tuple[str, str]]) -> None:
        for folder in topic_folders(self.root, table):
            metrics.MERGED.labels(table).inc(merge_folder(folder, plan, order, self.step))

    def _remove_records(self, table: str, now_s: float) -> None:
        kept = self._kept(table, now_s)
        old = too_old(kept, int((now_s - self.keeping.records_days * 86_400) * 1000))
        left = [one for one in kept if one not in old]
        self._remove(table, [*old, *too_much(left, self.keeping.records_bytes)])

    def _remove_samples(self, folding: Folding, now_s: float) -> None:
        """Samples go when they are folded, however long that takes."""
        before = day_of(int(now_s * 1000)) - self.keeping.samples_days * DAY_MS
        folded = {one.segment.path for one in folding.samples() if folding.is_folded(one)}
        old = too_old(self._kept(MetricsTable.name, now_s), before)
        self._remove(MetricsTable.name, [one for one in old if one.segment.path in folded])

    def _remove_days(self, folder: Path, days: int, now_s: float) -> None:
        current, replaced = list_days(folder)
        before = day_of(int(now_s * 1000)) - days * DAY_MS
        for one in current:
            covered = [other.path for other in replaced if one.start <= other.start and other.end <= one.end]
            if one.end <= before or self._is_old(one.path, now_s):
                remove(covered)
            if one.end <= before:
                metrics.REMOVED.labels(folder.name).inc(remove([one.path]))

    def _kept(self, table: str, now_s: float) -> list[Kept]:
        """The table's current segments; what they replaced is removed once no query can be reading it."""
        found = list[Kept]()
        for folder in topic_folders(self.root, table):
            listing = list_segments(folder)
            for one in listing.current:
                covered = covered_by(one, listing)
                if covered and self._is_old(one.path, now_s):
                    remove(covered)
                    covered = ()
                manifest = self._manifests[one.path] = self._manifests.get(one.path) or read_manifest(one.path)
                found.append(Kept(one, manifest, one.path.stat().st_size, covered))
        return found

    def _is_old(self, path: Path, now_s: float) -> bool:
        return now_s - path.stat().st_mtime >= self.keeping.grace_s

    def _remove(self, table: str, kept: Sequence[Kept]) -> None:
        for one in kept:
            self._manifests.pop(one.segment.path, None)
            remove(one.paths)
        metrics.REMOVED.labels(table).inc(len(kept))
