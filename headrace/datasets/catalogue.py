"""All data sets of a store: which there are, what `name@version` means, and removing versions.

The store is what counts; the topic tells others of it. A version is there once its manifest is, and gone once the mark
of its removal is.
"""

import time
from collections.abc import Iterator

import msgspec

from headrace.datasets import layout
from headrace.datasets.announcing import Announcer
from headrace.datasets.errors import DamagedSet, SetInUse, UnknownSet
from headrace.datasets.manifest import Manifest, decoded
from headrace.datasets.names import Wanted, check_name, wanted
from headrace.datasets.storing.port import SetStore

_GRACE_S = 24 * 3600.0
"""Files of an import without a manifest are left alone for so long: it may go on."""


class Catalogue:
    """The sets of one store."""

    def __init__(self, store: SetStore) -> None:
        self.store = store

    def names(self) -> list[str]:
        """Sets that have a version."""
        return [name for name in self.store.names("") if self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """A set's versions, the oldest first; none if there is no such set."""
        gone = set(layout.numbers(self.store.names(layout.removed(name))))
        return [version for version in self.every_version(name) if version not in gone]

    def every_version(self, name: str) -> list[int]:
        """Those that were removed too."""
        return layout.numbers(self.store.names(layout.versions(name)))

    def manifest(self, text: str | Wanted) -> Manifest:
        """What `name` (its newest version) or `name@version` is.

        Raises:
            ConfigError: it is no name of a set.
            UnknownSet: there is none, or it was removed.
            DamagedSet: its manifest is.
        """
        asked = wanted(text) if isinstance(text, str) else text
        versions = self.versions(asked.name)
        if not versions:
            known = ", ".join(self.names()[:20]) or "none"
            raise UnknownSet(f"no data set {asked.name}", hint=f"there is: {known}")
        if asked.version is None:
            return self.manifest_of(asked.name, versions[-1])
        if asked.version not in versions:
            was = "was removed" if asked.version in self.every_version(asked.name) else "is no version of it"
            raise UnknownSet(f"{asked}: {was}", hint=f"{asked.name} has {', '.join(map(str, versions[-20:]))}")
        return self.manifest_of(asked.name, asked.version)

    def manifest_of(self, name: str, version: int) -> Manifest:
        """A version's manifest, of one that was removed too.

        Raises:
            DamagedSet: it is damaged, or not there.
        """
        path = layout.manifest(check_name(name), version)
        try:
            found = decoded(self.store.read(path), f"{path} in {self.store.name}")
        except FileNotFoundError as error:
            raise DamagedSet(f"{path} is not in {self.store.name}") from error
        if (found.name, found.version) != (name, version):
            raise DamagedSet(f"{path} in {self.store.name} is the manifest of {found.set}")
        return found

    def made_by(self, name: str, import_id: str) -> Manifest | None:
        """The version that an import has made; None if it has not come so far."""
        for version in reversed(self.every_version(name)):
            manifest = self.manifest_of(name, version)
            if manifest.import_id == import_id:
                return manifest
        return None

    def remove(self, manifest: Manifest, announcer: Announcer, needed_by: str = "") -> None:
        """Remove a version. If the process dies in between, `tidy` goes on with it.

        1. Mark it: from now on nobody finds it.
        2. Tell of it.
        3. Remove its files and its profile.

        Raises:
            SetInUse: `needed_by` says who needs it.
        """
        if needed_by:
            raise SetInUse(f"{manifest.set}: {needed_by}", hint="it can go once no served version goes back to it")
        mark = msgspec.json.encode({"at_us": time.time_ns() // 1000})
        self.store.create(layout.removed_mark(manifest.name, manifest.version), mark)
        announcer.announce(manifest, removed=True)
        self._remove_files(manifest)

    def _remove_files(self, manifest: Manifest) -> None:
        self.store.remove(layout.profile(manifest.name, manifest.digest))
        self.store.remove(layout.data(manifest.name, manifest.import_id))

    def tidy(self, announcer: Announcer, grace_s: float = _GRACE_S) -> dict[str, int]:
        """Finish what processes that died have left; how many of each.

        Versions and removals that were not told of are; files of removed versions go, and those that no version has
        and nobody has written to for `grace_s` seconds.
        """
        told, counts = announcer.announced(), {"announced": 0, "removed": 0, "abandoned": 0}
        for name in self.store.names(""):
            alive, imports = set(self.versions(name)), set(self.store.names(layout.imports(name)))
            kept = set[str]()
            for manifest in self._every_manifest(name):
                gone = manifest.version not in alive
                record = told.get(manifest.set)
                if record is None or record.removed != gone or record.manifest_digest != manifest.digest:
                    announcer.announce(manifest, removed=gone)
                    counts["announced"] += 1
                if not gone:
                    kept.add(manifest.import_id)
                elif manifest.import_id in imports:
                    self._remove_files(manifest)
                    imports.discard(manifest.import_id)
                    counts["removed"] += 1
            for import_id in imports - kept:
                if self.store.age_s(layout.data(name, import_id)) > grace_s:
                    self.store.remove(layout.data(name, import_id))
                    counts["abandoned"] += 1
        return counts

    def _every_manifest(self, name: str) -> Iterator[Manifest]:
        for version in self.every_version(name):
            yield self.manifest_of(name, version)
