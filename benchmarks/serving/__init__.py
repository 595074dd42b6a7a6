"""Answering requests: Headrace's role `rpc` beside Triton, MLServer and plain FastAPI, on one machine, in turn.

    make bench-serving [FULL=1]      tables on the terminal, figures in build/bench/serving.json

Every contestant serves the same network with the same weights, from the same file, on the same cores; the load comes
from processes on other cores, over prepared bytes, and every answer is checked. A contestant that answers wrongly is
disqualified. docs/benchmarks.md says what each figure means.
"""
