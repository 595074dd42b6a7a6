"""Versions: immutable, numbered once, verified when they are read, and there whole or not at all."""

import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest

from headrace.datasets import layout
from headrace.datasets.catalogue import Catalogue
from headrace.datasets.errors import BadInput, DamagedSet, SetInUse, TooManyBadRows, UnknownSet
from headrace.datasets.importing.job import Files
from headrace.datasets.names import wanted
from headrace.datasets.storing.folder import FolderStore
from headrace.datasets.storing.objects import ObjectStore
from headrace.datasets.storing.port import SetStore
from headrace.runtime.errors import ConfigError
from tests.datasets_kit import Sets


@pytest.fixture(params=["folder", "objects"])
def sets(request: pytest.FixtureRequest, tmp_path: Path) -> Sets:
    if request.param == "folder":
        return Sets(tmp_path)
    fsspec.filesystem("memory").store.clear()
    return Sets(tmp_path, ObjectStore("memory://bucket/sets", tmp_path / "cache"))


def test_a_version_is_what_was_imported_and_later_ones_leave_it_alone(sets: Sets) -> None:
    assert sets.csv("a", "id,v\nx,1\ny,2\n", key="id", metadata={"licence": "CC0"}).sets == ["a@1"]
    assert sets.csv("a", "id,v\nz,3\n").sets == ["a@2"]
    assert sets.rows("a@1") == [{"id": "x", "v": 1}, {"id": "y", "v": 2}]
    assert sets.rows("a") == sets.rows("a@2") == sets.rows("a@newest") == [{"id": "z", "v": 3}]
    manifest = sets.catalogue.manifest("a@1")
    assert (manifest.key, manifest.metadata, manifest.rows) == ("id", {"licence": "CC0"}, 2)
    assert [(c.name, c.type, c.min, c.max) for c in manifest.columns] == [
        ("id", "string", "x", "y"), ("v", "int64", 1, 2),
    ]  # fmt: skip
    assert sorted(sets.announcer.records) == ["a@1", "a@2"]
    assert sets.announcer.records["a@1"].manifest_digest == manifest.digest


def test_a_set_or_version_that_is_not_there_is_named(sets: Sets) -> None:
    sets.csv("a", "v\n1\n")
    with pytest.raises(UnknownSet, match="no data set b"):
        sets.open("b")
    with pytest.raises(UnknownSet, match=r"a@2: is no version of it"):
        sets.open("a@2")
    for name in ("../a", "A", "a@0", "a@x", "", "a@-1", "a/b"):
        with pytest.raises(ConfigError):
            wanted(name)


def test_a_file_that_was_changed_is_not_read(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    sets.csv("a", "v\n1\n2\n")
    path = tmp_path / "sets" / sets.catalogue.manifest("a").files[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedSet, match=rf"{path}: its SHA-256 is"):
        sets.rows("a")
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedSet, match=f"{len(whole) - 1} bytes, its manifest says {len(whole)}"):
        sets.rows("a")
    path.unlink()
    with pytest.raises(DamagedSet, match="no such file"):
        sets.rows("a")


def test_a_manifest_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    sets.csv("a", "v\n1\n2\n")
    path = tmp_path / "sets" / layout.manifest("a", 1)
    path.write_bytes(path.read_bytes().replace(b'"rows":2', b'"rows": 2'))
    with pytest.raises(DamagedSet, match="not in its canonical form"):
        sets.open("a")


def test_imports_at_once_get_different_numbers(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(sets.csv("a", "v\n1\n").sets)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(f"a@{n}" for n in range(1, 9))


class Died(Exception):  # noqa: N818
    """The process is gone."""


class DyingStore(FolderStore):
    """Dies at its n-th change, before it or after it."""

    def __init__(self, root: Path, at: int, *, after: bool) -> None:
        super().__init__(root)
        self._left, self._after = at, after

    def _change(self, change: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Died
        done = change()
        if self._left == 0:
            raise Died
        return done

    def put(self, path: str, file: Path) -> None:
        self._change(lambda: super(DyingStore, self).put(path, file))

    def create(self, path: str, data: bytes) -> bool:
        return bool(self._change(lambda: super(DyingStore, self).create(path, data)))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2])
def test_an_import_that_dies_at_any_step_makes_one_version_when_it_goes_on(
    tmp_path: Path, at: int, *, after: bool
) -> None:
    store: SetStore = DyingStore(tmp_path / "sets", at, after=after)
    dying = Sets(tmp_path, store)
    path = tmp_path / "a.csv"
    path.write_text("v\n1\n2\n")
    job = dying.job("a", Files([str(path)]), job_id="one")
    with pytest.raises(Died):
        dying.run(job)
    again = Sets(tmp_path)
    there = at == 2 and after  # the manifest is created, and nobody was told
    assert again.catalogue.versions("a") == ([1] if there else [])
    assert again.run(job).sets == ["a@1"]
    assert again.catalogue.versions("a") == [1]
    assert again.rows("a") == [{"v": 1}, {"v": 2}]
    assert list(again.announcer.records) == ["a@1"]


def test_tidying_tells_of_what_nobody_was_told_and_removes_what_nobody_goes_on_with(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    sets.csv("a", "v\n1\n")
    sets.announcer.records.clear()
    left = tmp_path / "sets" / layout.data("a", "dead") / "part-00000.parquet"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert sets.catalogue.tidy(sets.announcer) == {"announced": 1, "removed": 0, "abandoned": 0}
    assert left.exists()
    assert sets.catalogue.tidy(sets.announcer, grace_s=-1.0) == {"announced": 0, "removed": 0, "abandoned": 1}
    assert not left.parent.exists()
    assert sets.rows("a") == [{"v": 1}]


def test_a_removed_version_is_gone_and_its_number_is_not_given_again(sets: Sets) -> None:
    sets.csv("a", "v\n1\n")
    sets.csv("a", "v\n2\n")
    sets.catalogue.remove(sets.catalogue.manifest("a@2"), sets.announcer)
    assert sets.catalogue.versions("a") == [1]
    assert sets.announcer.records["a@2"].removed
    with pytest.raises(UnknownSet, match="was removed"):
        sets.open("a@2")
    assert sets.csv("a", "v\n3\n").sets == ["a@3"]
    with pytest.raises(SetInUse, match="a@1: somebody needs it"):
        sets.catalogue.remove(sets.catalogue.manifest("a@1"), sets.announcer, needed_by="somebody needs it")
    assert sets.rows("a@1") == [{"v": 1}]


def test_a_removal_that_died_is_finished_by_tidying(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    sets.csv("a", "v\n1\n")
    files = tmp_path / "sets" / layout.data("a", sets.catalogue.manifest("a").import_id)
    sets.catalogue.store.create(layout.removed_mark("a", 1), b"{}")
    assert files.exists()
    assert sets.catalogue.tidy(sets.announcer) == {"announced": 1, "removed": 1, "abandoned": 0}
    assert not files.exists()
    assert sets.announcer.records["a@1"].removed


def test_bad_rows_are_all_listed_and_only_as_many_are_left_out_as_are_allowed(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    text = "a,v\n1,5\n2,x\n3,7\n4,y\n"
    types = {"types": {"v": "int"}}
    from headrace.datasets.form import Form

    with pytest.raises(TooManyBadRows, match=r"2 rows do not fit, 0 allowed; the first: a.csv:3: v: 'x'"):
        sets.csv("a", text, form=Form(**types))
    assert [str(row).partition(": 'x'")[0].partition(": 'y'")[0] for row in sets.told.bad_rows] == [
        "a.csv:3: v",
        "a.csv:5: v",
    ]
    assert sets.catalogue.versions("a") == []
    assert sets.csv("a", text, form=Form(**types), max_bad_rows=2).bad_rows == 2
    assert sets.column("a", "v") == [5, 7]
    assert sets.catalogue.manifest("a").bad_rows == 2


def test_a_time_without_a_zone_cannot_be_the_sets_time(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="column at: times without a zone"):
        Sets(tmp_path).csv("a", "at\n2026-01-01 10:00\n", time="at")


def test_large_sets_are_several_files_of_bounded_row_groups(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from headrace.datasets.writing.parquet import SetWriter

    schema = pa.schema([("v", pa.int64())])
    writer = SetWriter(tmp_path, schema, group_rows=10, file_rows=25)
    writer.write(pa.record_batch([list(range(64))], schema=schema))
    files = writer.finish()
    assert [file.rows for file in files] == [30, 30, 4]
    tables = [pq.ParquetFile(file.path) for file in files]
    assert max(t.metadata.row_group(g).num_rows for t in tables for g in range(t.num_row_groups)) == 10
    assert [v for t in tables for v in t.read()["v"].to_pylist()] == list(range(64))


def test_the_catalogue_of_an_empty_store_is_empty(tmp_path: Path) -> None:
    assert Catalogue(FolderStore(tmp_path / "none")).names() == []
