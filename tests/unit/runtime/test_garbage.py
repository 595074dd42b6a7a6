"""Long-lived objects are left alone by the collector; garbage is still found."""

import gc
import weakref

import pytest

from headrace.runtime import garbage


@pytest.fixture(autouse=True)
def restored():
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Node:
    """May be part of a cycle."""


def test_what_is_there_is_never_walked_over_again():
    garbage.settle()
    assert gc.get_freeze_count() > 1000
    assert gc.get_count()[0] < garbage.YOUNG == gc.get_threshold()[0]


def test_cycles_that_are_made_later_are_freed_in_time():
    garbage.settle()
    node = Node()
    node.itself = node
    watched = weakref.ref(node)
    del node
    kept = [[] for _ in range(2 * garbage.YOUNG)]
    assert watched() is None
    assert len(kept) == 2 * garbage.YOUNG
