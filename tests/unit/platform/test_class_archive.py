"""The class archive comes by itself, step by step, and is never waited for."""

import pytest

from headrace.platform import process
from headrace.platform.kafka.class_archive import ClassArchive
from headrace.platform.kafka.java import Java
from tests.patience import WAIT_S

# stands for `java -Xshare:dump ... -XX:SharedArchiveFile=PATH -cp ...`
MAKES = '#!/bin/sh\nfor word; do case $word in -XX:SharedArchiveFile=*) echo archive > "${word#*=}";; esac; done\n'


@pytest.fixture
def archive(tmp_path):
    def archive(script=MAKES, classpath="a.jar"):
        java = tmp_path / "java"
        if not java.exists():
            java.write_text(script)
            java.chmod(0o755)
        (tmp_path / "broker").mkdir(exist_ok=True)
        return ClassArchive(tmp_path, Java(java, 25), classpath, tmp_path / "broker")

    return archive


def broker_ran(one, *, in_order=True):
    """What a broker does with its flags: list its classes, and end."""
    flags = one.flags()
    if flags and flags[0].startswith("-XX:DumpLoadedClassList="):
        (one._folder / "classes.lst").write_text("java/lang/Object\n")
    one.broker_is_gone(in_order=in_order)
    return flags


def test_first_the_list_then_the_archive_then_its_use(archive):
    assert broker_ran(archive())[0].startswith("-XX:DumpLoadedClassList=")

    second = archive()
    assert second.flags() == []
    second.broker_is_ready()
    assert process.wait_until(second.path.is_file, WAIT_S)
    second.broker_is_gone(in_order=True)

    third = archive()
    assert third.flags() == [f"-XX:SharedArchiveFile={third.path}"]
    third.broker_is_ready()
    assert third._maker is None
    assert third.path.read_text() == "archive\n"


def test_a_killed_brokers_list_is_not_kept(archive):
    broker_ran(archive(), in_order=False)
    assert archive().flags()[0].startswith("-XX:DumpLoadedClassList=")


def test_an_archive_cut_off_by_the_end_of_the_broker_is_not_kept(archive):
    broker_ran(archive(script="#!/bin/sh\nexec sleep 600\n"))
    cut_off = archive()
    cut_off.broker_is_ready()
    maker = cut_off._maker
    cut_off.broker_is_gone(in_order=True)
    assert maker.returncode != 0
    assert not cut_off.path.exists()
    assert archive().flags() == []


def test_other_jars_have_an_archive_of_their_own(archive):
    assert archive(classpath="a.jar").path != archive(classpath="b.jar").path
