"""Splits leak nothing; queries see the sets that they name, and nothing else."""

from itertools import pairwise
from pathlib import Path

import pytest

from headrace.datasets.errors import BadInput
from headrace.datasets.importing.job import Query, Split
from headrace.runtime.errors import ConfigError
from tests.datasets_kit import Sets, lines

HOUR = 3600


@pytest.fixture
def sets(tmp_path: Path) -> Sets:
    """1,000 rows of 50 keys, a minute apart, each label known after 30 minutes."""
    made = Sets(tmp_path)
    rows = [(f"k{i % 50}", 60 * i, 60 * i + HOUR // 2, i) for i in range(1000)]
    made.csv(
        "a", lines("id,at,label_at,v", rows), key="id", time="at", label_time="label_at", metadata={"licence": "CC0"}
    )
    return made


def test_a_key_is_in_one_part_whatever_is_added_later(sets: Sets) -> None:
    shares = {"train": 0.8, "test": 0.2}
    assert sets.take("a", Split("a", by="key", shares=shares)).sets == ["a-train@1", "a-test@1"]
    train, test = set(sets.column("a-train", "id")), set(sets.column("a-test", "id"))
    assert train & test == set()
    assert len(train | test) == 50
    sets.csv("more", lines("id,v", [(f"k{i}", i) for i in range(200)]), key="id")
    sets.take("more", Split("more", by="key", shares=shares))
    assert train <= set(sets.column("more-train", "id"))
    assert test <= set(sets.column("more-test", "id"))
    manifest = sets.catalogue.manifest("a-train")
    assert (manifest.parents, manifest.key, manifest.metadata) == (["a@1"], "id", {"licence": "CC0"})


def test_parts_follow_each_other_in_time_and_no_training_label_was_known_later(sets: Sets) -> None:
    summary = sets.take("a", Split("a", by="time", shares={"train": 0.7, "validation": 0.1, "test": 0.2}))
    parts = [sets.rows(f"a-{part}") for part in ("train", "validation", "test")]
    for earlier, later in pairwise(parts):
        begins = min(row["at"] for row in later)
        assert max(row["at"] for row in earlier) < begins
        assert max(row["label_at"] for row in earlier) < begins
    assert summary.left_out == 2 * 30  # the labels of the last half hour before each cut
    assert sum(map(len, parts)) == 1000 - 60


def test_rows_of_one_time_stay_together(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    sets.csv("a", lines("at,v", [(i // 10, i) for i in range(100)]), time="at")
    sets.take("a", Split("a", by="time", shares={"train": 0.55, "test": 0.45}))
    assert set(sets.column("a-train", "at")) & set(sets.column("a-test", "at")) == set()


def test_values_of_a_group_are_in_the_earlier_part_only(sets: Sets) -> None:
    sets.csv("b", lines("at,who", [(i, f"w{i // 15}") for i in range(100)]), time="at")
    summary = sets.take("b", Split("b", by="time", shares={"train": 0.5, "test": 0.5}, group="who"))
    assert set(sets.column("b-train", "who")) & set(sets.column("b-test", "who")) == set()
    assert summary.left_out == 10  # w3, which the cut divides


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (Split("a", by="time", shares={"x": 0.5, "y": 0.5}, column="id"), "is no time"),
        (Split("a", by="key", shares={"x": 0.5, "y": 0.5}, column="none"), "no column 'none'"),
    ],
)
def test_a_split_that_cannot_be_is_refused(sets: Sets, split: Split, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        sets.take("a", split)
    for shares in ({"x": 1.0}, {"x": 0.5, "y": 0.6}, {"x": 0.0, "y": 1.0}):
        with pytest.raises(BadInput):
            Split("a", by="key", shares=shares)


def test_a_row_without_a_key_is_named(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    sets.csv("a", "id,v\nx,1\n,2\n")
    with pytest.raises(BadInput, match="row 2, column id: no value to split by"):
        sets.take("a", Split("a", by="key", shares={"x": 0.5, "y": 0.5}, column="id"))


def test_a_query_joins_sets_by_their_names_and_versions(sets: Sets) -> None:
    sets.csv("zones", "id,zone\nk1,7\n")
    query = (
        'with w as (select * from zones) select a.id, v, zone from "a@1" a join w using (id) where v < 60 order by 2'
    )
    sets.take("joined", Query(query))
    assert sets.rows("joined") == [{"id": "k1", "v": 1, "zone": 7}, {"id": "k1", "v": 51, "zone": 7}]
    assert sets.catalogue.manifest("joined").parents == ["a@1", "zones@1"]
    sets.take("aliased", Query("select max(v) as m from t", {"t": "a@1"}))
    assert sets.rows("aliased") == [{"m": 999}]


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/*')",
        "select * from 'https://example.org/x.parquet'",
        "copy a to '/tmp/x.csv'",
        "copy a to 'FILE'",
        "select 1; select 2",
        "drop view a",
        "set memory_limit = '100GB'",
        "attach '/tmp/x.db'",
        "install httpfs",
        "pragma database_list",
        "select",
    ],
)
def test_a_query_reaches_nothing_but_its_sets(sets: Sets, query: str) -> None:
    path = sets.open("a").paths()[0]
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        sets.take("out", Query(query.replace("FILE", str(path)), {}))
    assert path.read_bytes() == before
    assert sets.catalogue.versions("out") == []


def test_a_query_beyond_its_memory_fails_and_says_so(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    sets.csv("a", lines("v", [(i,) for i in range(10)]))
    query = "select list(x.range) as v from range(20000000) x, a limit 1"
    with pytest.raises(BadInput, match=r"(?i)memory"):
        sets.take("out", Query(query), memory="50MB")
