"""Which chunk store the settings open."""

import fsspec
import pytest

from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import load
from headrace.weights import FallbackStore, open_store
from headrace.weights.stores.object_store import ObjectStoreChunkStore
from headrace.weights.stores.shared_storage import SharedStorageChunkStore
from services.ckpt.coordinator.settings import CoordinatorSettings


def settings(tmp_path, *flags):
    return load(CoordinatorSettings, "coordinator", ["--run-dir", str(tmp_path), "--redis-url", "", *flags])


def test_a_folder_by_path_or_by_url_is_the_same_store(tmp_path):
    """What was put through one is there through the other."""
    by_path = open_store(settings(tmp_path, "--storage-dir", str(tmp_path / "a b")))
    by_url = open_store(settings(tmp_path, "--storage-url", (tmp_path / "a b").as_uri()))
    assert isinstance(by_url, SharedStorageChunkStore)
    by_path.put("m", "d" * 32, b"data")
    assert by_url.claim("m", ["d" * 32]) == set()


def test_an_object_store_stands_behind_redis_as_shared_storage_does(tmp_path):
    """Redis is the fast one of the two wherever it is set."""
    url = ("--storage-url", "memory://bucket/prefix")
    assert isinstance(open_store(settings(tmp_path, *url)), ObjectStoreChunkStore)
    both = open_store(settings(tmp_path, *url, "--redis-url", "redis://127.0.0.1:1"))
    assert isinstance(both, FallbackStore)
    assert both.name == "redis 127.0.0.1:1, then object store memory://bucket/prefix"
    both.close()


def test_a_driver_that_is_not_installed_is_named(tmp_path, monkeypatch):
    """The user is told what to install, not what could not be imported."""

    def absent(protocol):
        raise ImportError(f"Install the driver of {protocol}")

    monkeypatch.setattr(fsspec.core, "get_filesystem_class", absent)
    for url, package in (
        ("s3://bucket", "s3fs"),
        ("gs://bucket", "gcsfs"),
        ("abfs://box", "adlfs"),
        ("sftp://h/x", "paramiko"),
    ):
        with pytest.raises(ConfigError, match=url) as caught:
            open_store(settings(tmp_path, "--storage-url", url))
        assert package in caught.value.hint


def test_an_unknown_protocol_is_refused(tmp_path):
    """Before anything runs."""
    with pytest.raises(ConfigError, match="Protocol not known: nope"):
        open_store(settings(tmp_path, "--storage-url", "nope://bucket"))


def test_sweeps_of_an_object_store_must_leave_publishers_their_time(tmp_path):
    """A claim cannot mark an object: the grace period is all that protects it."""
    with pytest.raises(ConfigError, match="sweep_grace_s must be 600 or more"):
        settings(tmp_path, "--storage-url", "s3://bucket", "--sweep-grace-s", "60")
    assert settings(tmp_path, "--storage-url", "file:///x", "--sweep-grace-s", "60").sweep_grace_s == 60
