"""Which digit an image shows: features that are not a row of numbers, and a convolutional network."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import torch
from torch import nn

from headrace import Model

SIDE = 8
DIGITS = tuple("0123456789")

Pixels = Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=16)]], msgspec.Meta(min_length=64, max_length=64)]


class Image(msgspec.Struct, frozen=True):
    """A handwritten digit."""

    image_id: str
    pixels: Pixels
    """8 x 8, row by row from the top; 0 is paper, 16 ink."""


class Answer(msgspec.Struct, frozen=True):
    """What the writer meant."""

    image_id: str
    digit: str


class Guess(msgspec.Struct, frozen=True):
    """A prediction: the likeliest digit, and the probability of each from 0 to 9."""

    digit: str
    probabilities: Annotated[list[float], msgspec.Meta(min_length=10, max_length=10)]


class DigitClass(Model[Image, Answer]):
    """Predicts the digit."""

    key = "image_id"
    classes = DIGITS

    def network(self) -> nn.Module:
        """Images [N, 1, 8, 8] to logits [N, 10]."""
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 2 * 2, len(DIGITS)),
        )  # fmt: skip

    def features(self, images: Sequence[Image]) -> torch.Tensor:
        """Shape [N, 1, 8, 8], 0 to 1."""
        pixels = torch.tensor([image.pixels for image in images], dtype=torch.float32)
        return pixels.reshape(len(images), 1, SIDE, SIDE) / 16

    def target(self, answer: Answer) -> str:
        """The digit."""
        return answer.digit

    def loss(self, outputs: torch.Tensor, answers: Sequence[Answer]) -> torch.Tensor:
        """Cross entropy."""
        return nn.functional.cross_entropy(outputs, torch.tensor([DIGITS.index(a.digit) for a in answers]))

    def predictions(self, outputs: torch.Tensor) -> Sequence[Guess]:
        """One guess an image."""
        chances = torch.softmax(outputs.double(), dim=1)
        likeliest = chances.argmax(dim=1).tolist()
        return [Guess(DIGITS[i], row) for i, row in zip(likeliest, chances.tolist(), strict=True)]
