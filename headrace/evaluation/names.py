"""The tasks by name, apart from their code: reading pipeline.yaml need not wait for numpy."""

from typing import Literal

TaskName = Literal["regression", "binary", "multiclass", "multilabel", "ranking", "count"]
