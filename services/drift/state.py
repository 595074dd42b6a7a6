"""What the role knows, as one record's value: written with the alerts that follow from it, read at the next start."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headrace.runtime.logging import get_logger
from services.drift.service import Watch

FORMAT = 1
_LEVEL = 1  # a state is mostly small counts: higher levels take longer and save little

log = get_logger("headrace.drift.state")


def encode(watch: Watch) -> bytes:
    """The state of everything but of references that are being learned, and of keys that wait for their other half."""
    state = {
        "inputs": watch.inputs.state(),
        "predictions": {model: group.state() for model, group in watch.predictions_of.items()},
        "scores": {model: change.state() for model, change in watch.scores.items()},
        "errors": {model: change.state() for model, change in watch.errors.items()},
        "flow": watch.flow.state(),
        "raising": watch.raising.state(),
        "counts": watch.counts,
    }
    return zlib.compress(msgspec.msgpack.encode(state), _LEVEL)


def restore(watch: Watch, data: bytes) -> None:
    """Go on from a state. A part that does not fit what is watched now begins anew, and the log says so.

    Raises:
        ValueError: it is damaged.
    """
    try:
        state: dict[str, Any] = msgspec.msgpack.decode(zlib.decompress(data))
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from error
    _part("inputs", watch.inputs.restore, state["inputs"])
    groups: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("predictions", watch.predictions_of), ("scores", watch.scores), ("errors", watch.errors),
    )  # fmt: skip
    for name, parts in groups:
        for model, part in parts.items():
            if model in state[name]:
                _part(f"{name} of {model}", part.restore, state[name][model])
    _part("volume and latency", watch.flow.restore, state["flow"])
    watch.raising.restore(state["raising"])
    watch.counts.update(state["counts"])


def _part(what: str, take: Callable[[Any], None], state: Any) -> None:
    try:
        take(state)
    except (ValueError, KeyError, TypeError) as error:
        log.warning("begins anew", what=what, why=str(error))
