"""Run folders are found by name, by path, or as the last one started."""

import os

import pytest

from headrace.launch import runs
from headrace.platform.files import read_json, write_json
from headrace.platform.process import ProcessId
from headrace.runtime.errors import ConfigError, PlatformError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_current_names_the_last_one_started(home):
    first, second = runs.create("flights"), runs.create("rides")
    assert runs.find() == second
    assert runs.create("flights") == first
    assert runs.find() == first
    assert (home / "current").is_symlink()
    assert sorted(path.name for path in first.iterdir()) == ["endpoints", "logs", "platform", "storage"]


def test_a_run_is_found_by_name_and_by_path(tmp_path):
    named, elsewhere = runs.create("flights"), runs.create("flights", tmp_path / "elsewhere")
    assert runs.find("flights") == named
    assert runs.find(str(elsewhere)) == elsewhere
    assert runs.find() == elsewhere
    assert [run.name for run in runs.all_runs()] == ["flights"]


def test_an_unknown_run_is_an_error_that_lists_the_known():
    runs.create("flights")
    with pytest.raises(ConfigError, match="no run 'fligths'") as raised:
        runs.find("fligths")
    assert "flights" in raised.value.hint


def test_before_anything_was_started_there_is_no_current():
    with pytest.raises(ConfigError, match="nothing was started"):
        runs.find()


@pytest.mark.parametrize("name", ["", "..", "a/b", "current", "-x", "x" * 65])
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(ConfigError, match="no name for a run"):
        runs.create(name)


def test_a_home_that_cannot_be_made_is_an_error_of_ours(home):
    home.write_text("")
    with pytest.raises(PlatformError, match="cannot make the run's folder"):
        runs.create("flights")


def test_a_run_belongs_to_its_living_supervisor():
    folder = runs.create("flights")
    assert runs.describe(folder).owner is None
    me = ProcessId.of(os.getpid())
    write_json(folder / "supervisor.json", me.as_dict())
    assert runs.describe(folder).owner == me
    write_json(folder / "supervisor.json", {"pid": me.pid, "started": me.started - 60})
    assert runs.describe(folder).owner is None
    assert not runs.stop(folder)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]
    path.write_text("{")
    assert read_json(path) is None
