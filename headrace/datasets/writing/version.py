"""Making a version of files that are written: the order in which that is durable."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from headrace.datasets import layout
from headrace.datasets.announcing import Announcer
from headrace.datasets.catalogue import Catalogue
from headrace.datasets.manifest import DataFile, Manifest, decoded
from headrace.datasets.writing.parquet import WrittenFile

_ATTEMPTS = 1000


@dataclass(frozen=True)
class Draft:
    """A version without its number and files: `manifest` has version 0 and no files."""

    manifest: Manifest
    files: list[WrittenFile]


def make_version(
    catalogue: Catalogue, announcer: Announcer, draft: Draft, on_step: Callable[[str], None] = lambda _: None
) -> Manifest:
    """Make the next version of a set. If the process dies in between, the same import does it again.

    1. The files go to the store, durable, into the import's own folder: nobody sees them.
    2. The manifest is created under the next free number, which no two imports can both get: the version is there,
       whole.
    3. The event tells of it. An import that finds its manifest there goes on with this step.

    Raises:
        DependencyError: the store or Kafka refuse.
    """
    manifest = catalogue.made_by(draft.manifest.name, draft.manifest.import_id)
    if manifest is None:
        on_step("storing")
        manifest = _create(catalogue, msgspec.structs.replace(draft.manifest, files=_stored(catalogue, draft)))
    on_step("announcing")
    announcer.announce(manifest)
    return manifest


def _stored(catalogue: Catalogue, draft: Draft) -> list[DataFile]:
    folder = layout.data(draft.manifest.name, draft.manifest.import_id)
    files = []
    for written in draft.files:
        path = f"{folder}/{written.path.name}"
        catalogue.store.put(path, written.path)
        files.append(DataFile(path, written.rows, written.size, written.sha256))
    return files


def _create(catalogue: Catalogue, draft: Manifest) -> Manifest:
    for _ in range(_ATTEMPTS):
        version = max(catalogue.every_version(draft.name), default=0) + 1
        manifest = msgspec.structs.replace(draft, version=version)
        decoded(manifest.encode(), manifest.set)  # what cannot be read again must not be made
        if catalogue.store.create(layout.manifest(draft.name, version), manifest.encode()):
            return manifest
    raise RuntimeError(f"{draft.name}: no version could be made in {_ATTEMPTS} attempts")
