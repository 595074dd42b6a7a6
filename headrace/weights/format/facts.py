"""What is known of a version beside its weights: one struct from the trainer's file to the event."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.weights.format.chunks import CHUNK_SIZE, digest_of, spans
from headrace.weights.format.manifest import Manifest, schema_hash
from headrace.weights.format.payload import layout


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """Where a version stands in its model's history.

    Attributes:
        model: the model's name.
        version: 1 or more.
        base_version: the version before; 0 for the first.
        epoch: the trainer's fencing epoch.
        step: optimizer steps taken.
        offsets: topic → partition → next offset to read; everything below is contained in the weights.
        metrics: figures to show beside the version; those that are not finite are left out of manifests.
        created_at: microseconds since the epoch, now by default; the checkpoint file's, to publish it again unchanged.
        newest_label_us: when the newest label learned from was appended, µs since the epoch; 0 if none.
    """

    model: str
    version: int
    base_version: int
    epoch: int = 0
    step: int = 0
    offsets: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    created_at: int = field(default_factory=lambda: time.time_ns() // 1000)
    newest_label_us: int = 0

    def manifest(self, payload: memoryview, chunk_size: int = CHUNK_SIZE) -> Manifest:
        """The manifest of these facts and a payload (`headrace.weights.format.payload.dump`).

        Raises:
            ManifestError: they do not go together.
        """
        specs = layout(payload)
        manifest = Manifest(
            model=self.model,
            version=self.version,
            base_version=self.base_version,
            epoch=self.epoch,
            step=self.step,
            offsets={topic: dict(of) for topic, of in self.offsets.items()},
            schema_hash=schema_hash((spec.name, spec.dtype, spec.shape) for spec in specs),
            tensors=specs,
            size=len(payload),
            chunk_size=chunk_size,
            chunks=[digest_of(payload[start:end]) for start, end in spans(len(payload), chunk_size)],
            metrics={name: float(value) for name, value in self.metrics.items() if math.isfinite(value)},
            created_at=self.created_at,
        )
        manifest.check()
        return manifest
