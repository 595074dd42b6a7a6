"""The 1,797 images of handwritten digits inside the package scikit-learn, again and again.

The data are from E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository (1998), CC BY 4.0. They have no times: an image comes each second, its answer `DELAY` seconds later.
"""

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any, ClassVar

import msgspec
import numpy as np
from sklearn.datasets import load_digits

from headrace import Source, Timed

from .model import Answer, Image

START = 1_750_000_000.0
"""Seconds since the epoch."""
DELAY = 30
"""Seconds until an answer is known."""


class Digits(Source):
    """Images and answers in order of time. The first pass is in the file's order, each further one shuffled anew."""

    options: ClassVar = {"seed": 1, "passes": 0}
    """`passes`: how often each image comes; 0 is for ever."""

    def replay(self, **options: Any) -> Iterator[Timed]:
        """Events (`Image`) and labels (`Answer`)."""
        chosen = {**self.options, **options}
        waiting: list[Answer] = []
        i = 0
        for i, (image, answer) in enumerate(self._pairs(chosen["seed"], chosen["passes"])):
            if len(waiting) == DELAY:
                yield Timed(START + i, "labels", waiting.pop(0))
            yield Timed(START + i, "events", image)
            waiting.append(answer)
        for late, answer in enumerate(waiting, start=1):
            yield Timed(START + i + late, "labels", answer)

    def sample(self, count: int) -> Sequence[msgspec.Struct]:
        """The first images."""
        return list(islice((record.value for record in self.replay() if record.kind == "events"), count))

    def _pairs(self, seed: int, passes: int) -> Iterator[tuple[Image, Answer]]:
        data, rng = load_digits(), np.random.default_rng(seed)
        pixels, digits = data.data.astype(int).tolist(), data.target.tolist()
        order = np.arange(len(digits))
        for number in count() if not passes else range(passes):
            for i in order.tolist():
                image_id = f"{number}-{i}"
                yield Image(image_id, pixels[i]), Answer(image_id, str(digits[i]))
            order = rng.permutation(len(digits))
