"""A task put together with a model: how wrong a prediction is by the model's own measure, and the task's evidence."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from headrace.evaluation.port import Evidence, Guess, Task

Error = Callable[[Any, Any], float]
Target = Callable[[Any], Any]


class Judged(NamedTuple):
    """One labelled prediction."""

    error: float
    evidence: Evidence


class Judge:
    """Judges predictions by their labels.

    Args:
        task: what is predicted.
        error: the model's own measure of a prediction and its label; None where it is the task's loss.
        target: what a label says was true. None where only `error` knows, which is for regression alone: the metrics
            are then those of what it returns.
    """

    def __init__(self, task: Task, *, error: Error | None = None, target: Target | None = None) -> None:
        self.task, self.target = task, target
        self._error = error

    def __call__(self, prediction: Any, label: Any) -> Judged:
        """Judge one prediction.

        Raises:
            ValueError, TypeError: a prediction or truth has not the task's form.
            Exception: whatever else the author's code raises.
        """
        if self.target is None:
            assert self._error is not None
            error = self._error(prediction, label)
            return Judged(error, (error,))
        evidence = self.task.evidence(prediction, self.target(label))
        return Judged(evidence[0] if self._error is None else self._error(prediction, label), evidence)

    @property
    def error_name(self) -> str:
        """What the error is, for people: the task's loss, or an error of the model's own."""
        return self.task.loss_name if self._error is None else "mean error"


class TaskBaseline:
    """A task's baseline as `headrace.Baseline`: it looks at labels alone."""

    def __init__(self, guess: Guess, target: Target) -> None:
        self._guess, self.target = guess, target

    def predict(self, _: Any) -> Any:
        """See `headrace.Baseline`."""
        return self._guess.guess()

    def learn(self, _: Any, label: Any) -> None:
        """See `headrace.Baseline`."""
        self._guess.learn(self.target(label))


def baselines_of(task: Task, target: Target) -> Mapping[str, TaskBaseline]:
    """Fresh baselines of a task, by name."""
    return {name: TaskBaseline(guess, target) for name, guess in task.baselines().items()}
