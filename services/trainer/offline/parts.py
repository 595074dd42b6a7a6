"""Train, validation and test: parts of the examples one after the other in time, with nothing leaking between them."""

from typing import NamedTuple

import numpy as np

from headrace.runtime.errors import ConfigError
from services.trainer.offline.examples import Examples


class Parts(NamedTuple):
    """Indexes of examples. `purged` counts those in none: see `split`."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    purged: int


def split(examples: Examples, validation: float, test: float) -> Parts:
    """Cut the order of labels in three.

    An example of validation or test whose event came before the part began is left out: when it had to be predicted,
    the labels that training knew were still to come. Where events have no times, none is.

    Raises:
        ConfigError: nothing is left to train on.
    """
    count = len(examples)
    tested, validated = round(count * test), round(count * validation)
    cuts = [count - tested - validated, count - tested]
    train, middle, last = np.split(np.arange(count), cuts)
    if not len(train):
        raise ConfigError(f"{count} examples leave none to train on beside validation and test")
    validate_on, test_on = _from(examples, middle), _from(examples, last)
    return Parts(train, validate_on, test_on, len(middle) + len(last) - len(validate_on) - len(test_on))


def _from(examples: Examples, part: np.ndarray) -> np.ndarray:
    if not len(part):
        return part
    events = examples.event_ms[part]
    fair: np.ndarray = part[(events >= examples.label_ms[part[0]]) | (events == 0)]
    return fair
