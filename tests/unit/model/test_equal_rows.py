"""Comparing rows alone and in batches."""

import pytest
import torch
from structlog.testing import capture_logs
from torch import nn

from headrace.model.equal_rows import RowCheck, compare_rows, served_sizes
from headrace.model.exact_rows import forward, padded

FEATURES = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))


class ByBatch(nn.Module):
    """Another last bit in batches of more than `largest` rows."""

    def __init__(self, largest: int = 24) -> None:
        super().__init__()
        self.largest, self.sizes = largest, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        y = x * 2
        if len(x) > self.largest:
            y[-1] = torch.nextafter(y[-1], torch.full_like(y[-1], torch.inf))
        return y


class NotByRows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise MemoryError("too wide")


def test_the_sizes_in_which_one_row_differs_by_one_bit_are_found():
    assert compare_rows(ByBatch(), FEATURES, [8, 16, 24, 40, 64]) == ([8, 16, 24, 40, 64], [40, 64])


def test_rows_of_nan_are_compared_by_their_bytes():
    assert compare_rows(ByBatch(100), FEATURES * torch.nan, [8, 40]).unequal == []


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_rows_of_every_dtype_are_compared(dtype):
    assert compare_rows(nn.Identity(), FEATURES.to(dtype), [8, 16]) == ([8, 16], [])


def test_outputs_that_are_not_one_row_a_row_are_no_equal_rows():
    assert compare_rows(NotByRows(), FEATURES, [8]).unequal == [8]


def test_sizes_are_those_that_are_served_up_to_the_largest():
    assert served_sizes(50) == [8, 16, 24, 40, 56]
    assert served_sizes(1) == [8]
    network = ByBatch()
    for rows in (1, 8, 9, 41):
        forward(network, FEATURES[:1].expand(rows, 3))
    assert network.sizes == [padded(rows) for rows in (1, 8, 9, 41)] == [8, 8, 16, 48]


def test_a_check_warns_once_and_names_model_and_sizes():
    check = RowCheck("rides", most=100)
    with capture_logs() as logs:
        assert check(ByBatch(), FEATURES) == ([8, 16, 24, 40, 64, 104], [40, 64, 104])
        assert check(ByBatch(), FEATURES) is None
    assert [(line["log_level"], line["model"], line["batch_sizes"]) for line in logs] == [
        ("warning", "rides", [40, 64, 104])
    ]


def test_a_network_that_raises_is_reported_and_nothing_else():
    with capture_logs() as logs:
        assert RowCheck("rides", most=100)(Raises(), FEATURES) is None
    assert "too wide" in logs[0]["error"]
