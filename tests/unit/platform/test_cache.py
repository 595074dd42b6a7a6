"""The cache holds whole, verified jars or none, whatever happens while it is filled."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.platform.kafka.jar_cache import ATTEMPTS, FetchError, cache_root, ensure, require_space
from headrace.platform.kafka.jars import Jar
from headrace.runtime.errors import PlatformError


def jar(name, content=None):
    content = content or name.encode() * 1000
    return Jar("org.example", name, "1", len(content), hashlib.sha256(content).hexdigest())


class Repository:
    """A fetch that serves what it was given: `failing` names fail so many times first, `altered` ones come damaged."""

    def __init__(self, *names, failing=None, altered=()):
        self.contents = {name: name.encode() * 1000 for name in names}
        self.failing = dict(failing or {})
        self.altered = set(altered)
        self.asked = []
        self.lock = threading.Lock()

    def __call__(self, wanted):
        with self.lock:
            self.asked.append(wanted.artifact)
            left = self.failing.get(wanted.artifact, 0)
            self.failing[wanted.artifact] = left - 1
        content = self.contents[wanted.artifact]
        half = len(content) // 2
        yield content[:half]
        if left > 0:
            raise FetchError("the connection broke")
        yield content[half:] if wanted.artifact not in self.altered else content[half:-1] + b"!"


class Listener:
    """Counts what it is told."""

    def __init__(self):
        self.started, self.bytes, self.finished, self.notes = [], 0, 0, []
        self.lock = threading.Lock()

    def start(self, files, size):
        self.started.append((files, size))

    def advance(self, size):
        with self.lock:
            self.bytes += size

    def finish(self):
        self.finished += 1

    def note(self, text):
        self.notes.append(text)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def fill(folder, jars, repository, listener=None):
    return ensure(jars, folder, repository, listener or Listener(), pause_s=0)


def test_all_jars_are_fetched_once_and_then_the_cache_works_offline(tmp_path):
    jars, repository, listener = [jar("a"), jar("b")], Repository("a", "b"), Listener()
    paths = fill(tmp_path, jars, repository, listener)
    assert [path.read_bytes() for path in paths] == [b"a" * 1000, b"b" * 1000]
    assert (listener.started, listener.bytes, listener.finished) == ([(2, 2000)], 2000, 1)

    offline = Repository()
    assert fill(tmp_path, jars, offline) == paths
    assert offline.asked == []


def test_a_jar_altered_on_the_way_is_refused_and_not_kept(tmp_path):
    with pytest.raises(PlatformError, match="digest"):
        fill(tmp_path, [jar("a"), jar("b")], Repository("a", "b", altered=["b"]))
    assert "b-1.jar" not in names_in(tmp_path)
    assert not [name for name in names_in(tmp_path) if name.endswith(".part")]


def test_a_damaged_jar_in_the_cache_is_fetched_again(tmp_path):
    jars = [jar("a"), jar("b")]
    fill(tmp_path, jars, Repository("a", "b"))
    (tmp_path / "b-1.jar").write_bytes(b"x" * 1000)
    repository = Repository("a", "b")
    fill(tmp_path, jars, repository)
    assert repository.asked == ["b"]
    assert (tmp_path / "b-1.jar").read_bytes() == b"b" * 1000


def test_a_broken_connection_is_tried_again(tmp_path):
    repository, listener = Repository("a", failing={"a": ATTEMPTS - 1}), Listener()
    fill(tmp_path, [jar("a")], repository, listener)
    assert len(repository.asked) == ATTEMPTS
    assert names_in(tmp_path) == ["a-1.jar"]


def test_without_network_the_error_says_what_to_do_and_finished_jars_stay(tmp_path):
    jars = [jar("a"), jar("b")]
    with pytest.raises(PlatformError, match=r"cannot fetch org\.example:b:1: the connection broke") as raised:
        fill(tmp_path, jars, Repository("a", "b", failing={"b": 99}))
    assert "HEADRACE_CACHE" in raised.value.hint
    assert "KAFKA_BOOTSTRAP_SERVERS" in raised.value.hint
    assert names_in(tmp_path) == ["a-1.jar"]

    resumed = Repository("a", "b")
    fill(tmp_path, jars, resumed)
    assert resumed.asked == ["b"]


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    (tmp_path / "a-1.jar.12345.part").write_bytes(b"half")
    fill(tmp_path, [jar("a")], Repository("a"))
    assert names_in(tmp_path) == ["a-1.jar"]


def test_of_several_that_need_the_same_jars_one_fetches(tmp_path):
    jars = [jar(name) for name in "abcd"]
    repository = Repository(*"abcd")
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(fill, tmp_path, jars, repository) for _ in range(4)]:
            future.result()
    assert sorted(repository.asked) == ["a", "b", "c", "d"]


def test_a_full_disk_is_an_error_of_ours_before_anything_is_written(tmp_path):
    with pytest.raises(PlatformError, match="MiB free") as raised:
        require_space(tmp_path, 1 << 62, "the jars of Kafka")
    assert raised.value.hint == "free some disk space"


def test_a_cache_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError, match="cannot use the cache"):
        fill(tmp_path / "file" / "cache", [jar("a")], Repository("a"))


@pytest.mark.parametrize(
    ("env", "root"),
    [
        ({"HEADRACE_CACHE": "/somewhere"}, "/somewhere"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/headrace"),
        ({"HOME": "/home/somebody"}, "/home/somebody/.cache/headrace"),
    ],
)
def test_where_the_cache_is(monkeypatch, env, root):
    for name in ("HEADRACE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert str(cache_root()) == root
