"""Warming a version up on what was served."""

from pathlib import Path

import pytest
import torch
from prometheus_client import REGISTRY
from torch import nn

from headrace.model.exact_rows import forward
from headrace.model.pipeline import Pipeline
from headrace.model.spec import PipelineSpec
from headrace.runtime.errors import WeightsError
from services.inference.warm_up import WarmUpBatches


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.rows: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        return x * self.factor


class Samples:
    def sample(self, count: int) -> list[float]:
        return [float(i) for i in range(count)]


class Columns:
    def features(self, events):
        return torch.tensor(events)[:, None]


class Sampled(Pipeline):
    def source(self, **_):
        return Samples()


def batches(name: str = "toy", *, kind=Pipeline, source: str | None = None, most: int | None = None) -> WarmUpBatches:
    spec = PipelineSpec(name=name, model="model.py:Toy", source=source, stream={"max_batch": 100})
    return WarmUpBatches(kind(Path(), spec, model=Columns()), most)


def warmed(made: WarmUpBatches) -> list[int]:
    """The rows of each pass of a warm-up, after the first, which also compares sizes."""
    made(Times(1.0))
    network = Times(1.0)
    made(network)
    return network.rows


@pytest.fixture
def warm_up():
    made = batches()
    made.remember(torch.tensor([[1.0], [float("nan")], [3e38]]))
    return made


def test_a_version_whose_outputs_are_all_nan_or_infinite_is_refused(warm_up):
    for factor in (float("nan"), float("inf")):
        with pytest.raises(WeightsError, match="all 3 outputs"):
            warm_up(Times(factor))


def test_a_version_is_not_refused_for_rows_that_nobody_could_predict(warm_up):
    warm_up(Times(10.0))


def test_a_version_is_warmed_up_on_passes_of_the_sizes_that_were_served():
    made, served = batches(), Times(1.0)
    for rows in (1, 3, 13, 100):
        features = torch.ones(rows, 1)
        forward(served, features)
        made.remember(features)
    assert warmed(made) == [8, 16, 104]
    assert set(served.rows) == {8, 16, 104}


def test_before_anything_was_served_one_sample_and_all_of_them_are_what_it_is_warmed_up_on():
    made = batches(kind=Sampled, source="source.py:Source")
    assert warmed(made) == [8, 64]
    made.remember(torch.ones(2, 1))
    assert warmed(made) == [8]


def test_passes_of_more_rows_than_are_computed_at_once_are_not_run():
    made = batches(most=20)
    made.remember(torch.ones(90, 1))
    assert warmed(made) == [24]


def test_the_smallest_and_the_largest_batches_are_kept_and_what_was_dropped_is_not_copied_again():
    made = batches(most=4096)
    for rows in (1, 16, 32, 64, 128, 256, 16):
        made.remember(torch.ones(rows, 1))
    assert warmed(made) == [8, 64, 128, 256]


def test_the_first_network_is_tried_on_whether_rows_depend_on_their_batch_and_later_ones_are_not():
    class Shifted(Times):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + (len(x) > 30)

    made = batches("unequal")
    made(Shifted(1.0))  # nothing is known yet that could be a row
    made.remember(torch.ones(3, 1))
    made(Shifted(1.0))
    value = lambda: REGISTRY.get_sample_value("headrace_inference_unequal_batch_sizes", {"model": "unequal"})  # noqa: E731
    assert value() == 3  # 40, 64, 104 of 8, 16, 24, 40, 64, 104
    made(Times(1.0))
    assert value() == 3
