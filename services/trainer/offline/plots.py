"""A study in pictures: the error over trials, and over each setting that was tried."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from headrace.training.study import Axis, Trial

_COLOURS = {"complete": "#1f6feb", "pruned": "#bbbbbb"}


def draw(trials: Sequence[Trial], space: Sequence[Axis], unit: str, folder: Path) -> list[str]:
    """Write history.png and settings.png into `folder`; returns the files. `unit` is that of errors."""
    label = f"validation error{f', {unit}' if unit else ''}"
    history, settings = folder / "history.png", folder / "settings.png"
    _history(trials, label).savefig(history, dpi=120)
    _settings(trials, space, label).savefig(settings, dpi=120)
    return [str(history), str(settings)]


def _history(trials: Sequence[Trial], label: str) -> Figure:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    _scatter(axes, trials, lambda trial: trial.number)
    best, numbers, least = float("inf"), list[int](), list[float]()
    for trial in trials:
        if trial.state == "complete" and trial.error is not None:
            best = min(best, trial.error)
            numbers.append(trial.number)
            least.append(best)
    axes.step(numbers, least, where="post", color="#d1242f", label="best so far")
    axes.set(xlabel="trial", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def _settings(trials: Sequence[Trial], space: Sequence[Axis], label: str) -> Figure:
    figure = Figure(figsize=(4 * len(space), 4), layout="constrained")
    every = figure.subplots(1, len(space), squeeze=False, sharey=True)[0]
    for axis, axes in zip(space, every, strict=True):
        tried = [trial for trial in trials if axis.name in trial.settings]
        _scatter(axes, tried, _value_of(axis))
        axes.set_xlabel(axis.name)
        if axis.log:
            axes.set_xscale("log")
    every[0].set_ylabel(label)
    every[0].legend()
    return figure


def _value_of(axis: Axis) -> Callable[[Trial], Any]:
    """Choices are categories, side by side, whatever their types."""
    return lambda trial: str(trial.settings[axis.name]) if axis.choices else trial.settings[axis.name]


def _scatter(axes: Axes, trials: Sequence[Trial], x: Callable[[Trial], Any]) -> None:
    for state, colour in _COLOURS.items():
        some = [(x(trial), trial.error) for trial in trials if trial.state == state and trial.error is not None]
        if some:
            axes.scatter([at for at, _ in some], [error for _, error in some], c=colour, s=24, label=state)
