"""Headrace: a model that learns from a Kafka stream and answers on it, continuously.

A pipeline's author imports from here: `headrace.Model`, `headrace.Source`, `headrace.Timed`, `headrace.Baseline`,
`headrace.RunningNorm`, `headrace.HashingEmbedding`, `headrace.hashed`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.model.embedding import HashingEmbedding, hashed
    from headrace.model.normalization import RunningNorm
    from headrace.model.port import Baseline, Model
    from headrace.model.source import Source, Timed

__all__ = ["Baseline", "HashingEmbedding", "Model", "RunningNorm", "Source", "Timed", "__version__", "hashed"]
__version__ = "0.1.0"

_WHERE = {
    "Baseline": "headrace.model.port",
    "HashingEmbedding": "headrace.model.embedding",
    "Model": "headrace.model.port",
    "RunningNorm": "headrace.model.normalization",
    "Source": "headrace.model.source",
    "Timed": "headrace.model.source",
    "hashed": "headrace.model.embedding",
}


def __getattr__(name: str) -> Any:
    """Import the author's names on first use: importing torch takes seconds that the command line need not spend."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'headrace' has no attribute {name!r}")
