"""How predictions are judged: each task's error, metrics and baselines, once for checks, trainer, monitor and board.

`tasks` makes a `Task` from pipeline.yaml's `task:`, `judge` puts it together with a model, `scores` accumulates.
"""
