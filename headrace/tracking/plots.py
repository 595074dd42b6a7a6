"""Runs in one picture: the validation error over epochs, and the error on the test part."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw(histories: Mapping[str, Sequence[tuple[int, float]]], tests: Mapping[str, float], path: Path) -> None:
    """Write a PNG. `histories` are (epoch, validation error) by a run's name, `tests` errors on the test part."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, history in histories.items():
        left.plot([epoch for epoch, _ in history], [error for _, error in history], marker="o", label=name)
    left.set(xlabel="epoch", ylabel="validation error")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    if histories:
        left.legend()
    right.barh(list(tests), list(tests.values()), color="#1f6feb")
    right.set(xlabel="error on the test part")
    right.invert_yaxis()
    figure.savefig(path, dpi=120)
