"""The state of the random generators that a model may use: torch's, numpy's and Python's global ones.

A GPU has a generator of its own, which dropout uses there.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_CPU = torch.device("cpu")


def seed(value: int) -> None:
    """Begin all of them at `value`."""
    torch.manual_seed(value)
    np.random.seed(value % 2**32)
    random.seed(value)


def state(device: torch.device = _CPU) -> dict[str, Any]:
    """All states, as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, next_gauss = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)),
        "python": (version, torch.tensor(words, dtype=torch.int64), next_gauss),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore(states: dict[str, Any], device: torch.device = _CPU) -> None:
    """Go on from what `state` returned, on whatever device that was."""
    torch.set_rng_state(states["torch"].to(torch.uint8))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].to(torch.uint8), device)
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, next_gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), next_gauss))


@contextmanager
def untouched() -> Iterator[None]:
    """Whatever is drawn inside, the generators go on as if it had not been."""
    before = state()
    try:
        yield
    finally:
        restore(before)
