"""Versions whose own chunks are in no store: built where a base is, taken from those who built them where none is."""

import pytest

from headrace.weights import MemoryChunkStore
from tests.slot_kit import map_tensors
from tests.unit.ckpt.agent.test_deltas import state, store, versions
from tests.unit.ckpt.agent.test_host_peers import host, plan

__all__ = ["host", "store", "versions"]


def test_a_late_joiner_takes_a_delta_version_from_those_who_have_it(host, versions):
    """Nothing of it is read from the store, neither anchor nor deltas."""
    root, leaf = host("root"), host("leaf", store=MemoryChunkStore())
    for manifest in versions:
        root.fill(manifest, plan(root, leaf))
    last = versions[-1]
    path, pulled = leaf.fill(last, plan(root, leaf))
    assert pulled.bytes_from_peers == pulled.bytes_pulled == last.size
    assert map_tensors(path, last, last.digest)["rows"].equal(state(len(versions)))


def test_with_a_base_the_delta_travels_and_nothing_else(host, versions):
    """However many peers there are."""
    root, leaf = host("root"), host("leaf")
    for manifest in versions:
        root.fill(manifest, plan(root, leaf))
    leaf.fill(versions[-2], plan(root, leaf))
    path, pulled = leaf.fill(versions[-1], plan(root, leaf), [versions[-2].digest])
    assert pulled.bytes_from_peers == 0
    assert 0 < pulled.bytes_pulled < versions[-1].size / 4
    assert map_tensors(path, versions[-1], versions[-1].digest)["rows"].equal(state(len(versions)))


@pytest.mark.parametrize("order", [("root", "leaf"), ("leaf", "root")])
def test_where_nobody_has_it_nobody_waits_for_another(host, versions, order):
    """Both build it from the anchor."""
    hosts = [host(name) for name in order]
    last = versions[-1]
    _, pulled = hosts[0].fill(last, plan(*hosts))
    assert pulled.bytes_from_peers == 0
