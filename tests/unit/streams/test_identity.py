"""Slots: a transactional id that outlives the process."""

import pytest

from headrace.runtime.errors import ConfigError
from headrace.streams.identity import take_slot, transactional_id


def test_two_processes_take_two_slots_and_a_successor_takes_the_one_that_is_free(tmp_path):
    first, second = take_slot(tmp_path, "rides.stream"), take_slot(tmp_path, "rides.stream")
    assert (first.number, second.number) == (0, 1)
    assert transactional_id("rides.stream", first) != transactional_id("rides.stream", second)
    first.release()
    successor = take_slot(tmp_path, "rides.stream")
    assert successor.number == 0
    successor.release()
    second.release()


def test_groups_do_not_share_slots(tmp_path):
    a, b = take_slot(tmp_path, "a"), take_slot(tmp_path, "b")
    assert (a.number, b.number) == (0, 0)
    a.release()
    b.release()


def test_a_folder_that_cannot_be_made_is_a_setting_that_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="slots of 'a'"):
        take_slot(tmp_path / "file" / "slots", "a")
