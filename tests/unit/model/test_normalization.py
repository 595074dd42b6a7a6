"""Running normalization: exact statistics, the same in training and serving, and part of the weights."""

import torch

from headrace import RunningNorm


def batches(count: int, size: int = 32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, generator=generator) * torch.tensor([1.0, 50.0, 1e-3]) + 7 for _ in range(count)]


def test_statistics_are_those_of_all_examples_together() -> None:
    norm, made = RunningNorm(3), batches(40)
    for batch in made:
        norm(batch)
    everything = torch.cat(made)
    assert torch.allclose(norm.mean, everything.mean(dim=0), rtol=1e-4)
    assert torch.allclose(norm.variance, everything.var(dim=0, correction=0), rtol=1e-2)


def test_serving_changes_nothing_and_gives_what_training_gave() -> None:
    norm = RunningNorm(3)
    for batch in batches(5):
        norm(batch)
    last = batches(6)[-1]
    trained = norm(last)
    norm.eval()
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    assert torch.equal(norm(last), trained)
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())
    assert set(before) == {"mean", "variance", "count"}


def test_after_its_memory_it_follows_a_drift() -> None:
    norm = RunningNorm(3, memory=320)
    for batch in batches(20):
        norm(batch)
    for batch in batches(60):
        norm(batch + 1000)
    assert torch.allclose(norm.mean, torch.tensor([1007.0] * 3), rtol=0.02)


def test_values_far_out_are_clipped_and_a_constant_feature_is_zero() -> None:
    norm = RunningNorm(2)
    norm(torch.tensor([[1.0, 5.0], [2.0, 5.0]]))
    norm.eval()
    assert norm(torch.tensor([[1e9, 5.0]])).tolist() == [[10.0, 0.0]]
