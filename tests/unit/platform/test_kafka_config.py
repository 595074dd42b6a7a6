"""The embedded broker's settings and storage."""

import re
from pathlib import Path

import pytest

from headrace.platform.kafka.config import as_properties, broker_config
from headrace.platform.kafka.java import Java
from headrace.platform.kafka.storage import cluster_id, format_storage, kafka_uuid
from headrace.runtime.errors import PlatformError

NO_JAVA = Java(Path("/bin/false"), 17)


def test_topics_are_never_created_by_mentioning_them():
    assert broker_config(Path("/data"), 1, 2)["auto.create.topics.enable"] == "false"


def test_settings_can_be_overridden():
    assert broker_config(Path("/data"), 1, 2, {"num.io.threads": "9"})["num.io.threads"] == "9"


def test_properties_escape_backslashes():
    assert as_properties({"log.dirs": r"C:\data"}) == "log.dirs=C:\\\\data\n"


def test_ids_are_kafkas_and_no_flags():
    ids = [kafka_uuid() for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", one) for one in ids)


def test_a_new_folder_gets_the_versions_checkpoint_and_ids_of_its_own(tmp_path):
    (tmp_path / "bootstrap.checkpoint").write_bytes(b"levels")
    first = format_storage(tmp_path / "one", tmp_path, NO_JAVA, "")
    second = format_storage(tmp_path / "two", tmp_path, NO_JAVA, "")
    assert first != second
    assert (tmp_path / "one" / "bootstrap.checkpoint").read_bytes() == b"levels"
    assert cluster_id(tmp_path / "one") == first
    assert format_storage(tmp_path / "one", tmp_path, NO_JAVA, "") == first


def test_a_format_that_fails_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(PlatformError, match="exit code 1"):
        format_storage(tmp_path / "data", tmp_path, NO_JAVA, "")
    assert cluster_id(tmp_path / "data") is None
    assert not (tmp_path / "bootstrap.checkpoint").exists()
