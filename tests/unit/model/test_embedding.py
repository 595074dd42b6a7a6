"""Embeddings of open vocabularies: stable rows, and steps that change no row but those of their batch."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace.model.embedding import HashingEmbedding, SparseDenseAdam, hashed


class Net(torch.nn.Module):
    """Codes [N, 1] to a number each."""

    def __init__(self, rows: int = 1000) -> None:
        super().__init__()
        self.embedding, self.line = HashingEmbedding(rows, 4), torch.nn.Linear(4, 1)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.line(self.embedding(codes[:, 0]))
        return made[:, 0]


def step(net: Net, optimizer: torch.optim.Optimizer, codes: list[int]) -> None:
    optimizer.zero_grad()
    net(torch.tensor(codes, dtype=torch.float32)[:, None]).square().mean().backward()
    optimizer.step()


def test_a_value_has_the_same_row_for_ever() -> None:
    assert hashed(["UA", "AA", ""], 1024).tolist() == [475, 324, 740]
    assert hashed([1, "1"], 50).tolist() == [hashed(["1"], 50)[0]] * 2
    assert hashed(["UA"], 1 << 20, "carrier")[0] != hashed(["UA"], 1 << 20, "origin")[0]
    assert headrace.hashed is hashed
    assert headrace.HashingEmbedding is HashingEmbedding


@given(st.lists(st.text()), st.integers(1, 2**24))
def test_rows_are_within_the_embedding_and_float32_tells_them_apart(values: list[str], buckets: int) -> None:
    rows = hashed(values, buckets)
    assert rows.dtype == np.int64
    assert all(0 <= row < buckets for row in rows)
    assert np.array_equal(rows.astype(np.float32).astype(np.int64), rows)


def test_values_spread_over_the_rows() -> None:
    counts = np.bincount(hashed(range(100_000), 100), minlength=100)
    assert 850 < counts.min() < counts.max() < 1150


@pytest.mark.parametrize("buckets", [0, 2**24 + 1])
def test_too_few_and_too_many_rows_are_refused(buckets: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 16777216"):
        hashed(["a"], buckets)
    with pytest.raises(ValueError, match="expected 1 to 16777216"):
        HashingEmbedding(buckets, 2)


def test_a_step_changes_the_rows_of_its_batch_and_no_others() -> None:
    torch.manual_seed(1)
    net = Net()
    optimizer = SparseDenseAdam(net, 0.01)
    for codes in ([3, 5, 5], [5, 9]):
        before = net.embedding.rows.weight.detach().clone()
        step(net, optimizer, codes)
        changed = (net.embedding.rows.weight != before).any(dim=1).nonzero()[:, 0].tolist()
        assert changed == sorted(set(codes))


def test_it_is_adam_for_the_others_and_by_rows_for_the_embedding() -> None:
    torch.manual_seed(1)
    net, twin = Net(), Net()
    twin.load_state_dict(net.state_dict())
    ours = SparseDenseAdam(net, 0.01)
    parts = (
        torch.optim.Adam(twin.line.parameters(), lr=0.01),
        torch.optim.SparseAdam([twin.embedding.rows.weight], lr=0.01),
    )
    for codes in ([1, 2], [2, 3], [7, 7]):
        step(net, ours, codes)
        for part in parts:
            part.zero_grad()
        twin(torch.tensor(codes, dtype=torch.float32)[:, None]).square().mean().backward()
        for part in parts:
            part.step()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


def test_it_goes_on_from_its_state_and_follows_a_schedule() -> None:
    torch.manual_seed(1)
    net, twin = Net(), Net()
    one = SparseDenseAdam(net, 0.01)
    step(net, one, [1, 2])
    twin.load_state_dict(net.state_dict())
    other = SparseDenseAdam(twin, 0.5)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert [group["lr"] for group in other.param_groups] == [0.01, 0.01]
    for optimizer in (one, other):
        for group in optimizer.param_groups:
            group["lr"] = 0.3
    step(net, one, [2, 3])
    step(twin, other, [2, 3])
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    with pytest.raises(ValueError, match="expected"):
        SparseDenseAdam(torch.nn.Linear(1, 1), 0.1).load_state_dict(one.state_dict())  # type: ignore[arg-type]


def test_a_network_of_one_kind_alone_works() -> None:
    line = torch.nn.Linear(1, 1)
    assert len(SparseDenseAdam(line, 0.1).param_groups) == 1
    rows = HashingEmbedding(10, 2)
    optimizer = SparseDenseAdam(rows, 0.1)
    rows(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    assert len(optimizer.param_groups) == 1
