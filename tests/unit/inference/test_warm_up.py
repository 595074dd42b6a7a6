"""Rehearsing a version on what was served."""

from pathlib import Path

import pytest
import torch
from torch import nn

from headrace.model.pipeline import Pipeline
from headrace.model.spec import PipelineSpec
from headrace.runtime.errors import WeightsError
from services.inference.warm_up import WarmUpBatches


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


@pytest.fixture
def warm_up():
    made = WarmUpBatches(Pipeline(Path(), PipelineSpec(name="toy", model="model.py:Toy"), model=None))
    made.remember(torch.tensor([[1.0], [float("nan")], [3e38]]))
    return made


def test_a_version_whose_outputs_are_all_nan_or_infinite_is_refused(warm_up):
    for factor in (float("nan"), float("inf")):
        with pytest.raises(WeightsError, match="all 3 outputs"):
            warm_up(Times(factor))


def test_a_version_is_not_refused_for_rows_that_nobody_could_predict(warm_up):
    warm_up(Times(10.0))
