"""The list of jars is complete, exact and refuses what it does not understand."""

import hashlib

import pytest

from headrace.platform.kafka.jars import Jar, kafka_version, locked_jars, parse
from headrace.runtime.errors import PlatformError


def test_the_committed_list_has_a_broker_one_slf4j_binding_and_no_duplicates():
    jars = locked_jars()
    assert kafka_version(jars).startswith("4.")
    assert [jar.artifact for jar in jars if jar.artifact in {"slf4j-simple", "slf4j-reload4j", "log4j-slf4j-impl"}] == [
        "slf4j-simple"
    ]
    assert len({jar.file_name for jar in jars}) == len(jars)
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {kafka_version(jars)}


def test_comments_and_blank_lines_are_skipped():
    digest = "0" * 64
    assert parse(["# a comment", "", f"org.example:thing:1.0 12 sha256:{digest}"]) == [
        Jar("org.example", "thing", "1.0", 12, digest)
    ]


@pytest.mark.parametrize(
    "line",
    [
        "org.example:thing 12 sha256:" + "0" * 64,
        "org.example:thing:1.0 many sha256:" + "0" * 64,
        "org.example:thing:1.0 12 md5:" + "0" * 32,
        "org.example:thing:1.0 12 sha256:" + "0" * 63,
        "../evil:../../thing:1.0 12 sha256:" + "0" * 64,
    ],
)
def test_a_damaged_line_is_refused_by_its_number(line):
    with pytest.raises(PlatformError, match=r"jars\.lock, line 2"):
        parse(["# first", line])


def test_a_list_without_a_broker_is_refused():
    with pytest.raises(PlatformError, match=r"kafka_2\.13"):
        kafka_version([])


@pytest.mark.parametrize(
    ("content", "intact"), [(b"right", True), (b"wrong", False), (b"longer than that", False), (None, False)]
)
def test_a_jar_is_intact_only_with_its_size_and_digest(tmp_path, content, intact):
    path = tmp_path / "thing-1.0.jar"
    if content is not None:
        path.write_bytes(content)
    assert Jar("org.example", "thing", "1.0", 5, hashlib.sha256(b"right").hexdigest()).is_intact(path) is intact
