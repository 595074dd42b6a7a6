"""From `task:` in pipeline.yaml to its code."""

from collections.abc import Sequence

from headrace.evaluation.binary import Binary, Ranking
from headrace.evaluation.classes import Multiclass, Multilabel
from headrace.evaluation.names import TaskName
from headrace.evaluation.numeric import Count, Regression
from headrace.evaluation.port import Task

OF_CLASSES = frozenset({"multiclass", "multilabel"})
"""Tasks whose model names its classes."""


def task_of(name: TaskName, classes: Sequence[str] = ()) -> Task:
    """The task of that name, of those classes where it has some.

    Raises:
        ValueError: it needs two or more different classes, and has none or one; or it needs none and has some.
    """
    if (name in OF_CLASSES) != bool(classes):
        raise ValueError(
            f"task {name}: {'no classes are' if name in OF_CLASSES else 'it has no use for the classes'} named"
        )
    if classes and (len(set(classes)) < len(classes) or len(classes) < 2 - (name == "multilabel")):
        raise ValueError(f"task {name}: its classes must be different, and two at least: {', '.join(classes)}")
    match name:
        case "regression":
            return Regression()
        case "count":
            return Count()
        case "binary":
            return Binary()
        case "ranking":
            return Ranking()
        case "multiclass":
            return Multiclass(classes)
        case "multilabel":
            return Multilabel(classes)
