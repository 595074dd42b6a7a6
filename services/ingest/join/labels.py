"""The labels that pipeline.yaml writes out: the default one, and those of which only a part of the examples is kept."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from headrace.model.label_values import converted
from headrace.model.pipeline import Pipeline

_HASHES = 1 << 64


class DefaultLabel(NamedTuple):
    """The label of an event that got none: the event's key and fixed fields.

    `key_name` is the key's name in the label's JSON; `key_of` reads the key, in its type, from an event's value.
    """

    key_name: str
    fields: Mapping[str, Any]
    key_of: Callable[[bytes], Any]

    def encode(self, event: bytes) -> bytes:
        """The default label of an event, in JSON."""
        return msgspec.json.encode({self.key_name: self.key_of(event), **self.fields})


class Sampling(NamedTuple):
    """Which examples are kept, and with which probability. `rules`: fields and values of labels, and a probability."""

    rules: Sequence[tuple[Mapping[str, Any], float]]
    decode: Callable[[bytes], Any]

    def probability(self, label: bytes) -> float:
        """That of an example with this label to be kept: of the first rule that fits; 1 if none does."""
        if not self.rules:
            return 1.0
        found = self.decode(label)
        fits = (keep for when, keep in self.rules if all(getattr(found, name) == v for name, v in when.items()))
        return next(fits, 1.0)

    @staticmethod
    def is_kept(key: str, probability: float) -> bool:
        """Whether the example of this key is among those: always the same for one key, whoever asks."""
        if probability >= 1.0:
            return True
        place = int.from_bytes(blake2b(key.encode(), digest_size=8, person=b"headrace.join").digest(), "big")
        return place < probability * _HASHES


def default_label(pipeline: Pipeline) -> DefaultLabel | None:
    """The pipeline's default label; None if it has none."""
    fields, key = pipeline.spec.join.labels.missing.default, pipeline.model.key
    if fields is None:
        return None
    names = {field.name: field.encode_name for field in msgspec.structs.fields(pipeline.model.label_type())}
    decode = pipeline.event_decoder.decode
    return DefaultLabel(names[key], fields, lambda event: getattr(decode(event), key))


def sampling(pipeline: Pipeline) -> Sampling:
    """The pipeline's sampling of examples."""
    label_type, key = pipeline.model.label_type(), pipeline.model.key
    rules = [(converted(rule.when, label_type, key), rule.keep) for rule in pipeline.spec.join.labels.sampling]
    return Sampling(rules, pipeline.label_decoder.decode)
