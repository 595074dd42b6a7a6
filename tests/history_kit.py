"""A `RolloutHistory` that is told of versions, directives and reports in short, with made up times."""

from typing import Any

import torch

from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective, WeightsApplied
from headrace.rollouts.history import RolloutHistory
from headrace.weights import MemoryChunkStore, VersionFacts, checkpoint_event, publish_version

SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND


def checkpoint(version: int) -> CheckpointPublished:
    manifest = publish_version(
        {"w": torch.full((2,), float(version))},
        VersionFacts(
            model="m",
            version=version,
            base_version=version - 1,
            epoch=1,
            step=version * 10,
            offsets={},
            metrics={"error": 1 / version},
            created_at=at(version),
        ),
        store=MemoryChunkStore(),
    )
    return checkpoint_event(manifest)


def at(version: int) -> int:
    return T0 + version * 10 * SECOND


class Told(RolloutHistory):
    """Versions of the model "m", with the coordinator's sequence."""

    def __init__(self) -> None:
        super().__init__("m")
        self.sequence = 0
        self.serves = 0

    def publish(self, *versions: int) -> None:
        for version in versions:
            self.on_checkpoint(checkpoint(version), at(version))

    def direct(self, action: str, version: int, us: int = 0, **more: Any) -> None:
        self.sequence += 1
        self.on_directive(
            RolloutDirective(
                model="m", action=RolloutDirective.Action.Value(action), version=version, sequence=self.sequence,
                previous_version=self.serves, issued_at_us=us or at(version), **more,
            )
        )  # fmt: skip
        if action in {"ACTIVATE", "ROLL_BACK"}:
            self.serves = version

    def report(self, worker: str, state: str, version: int, us: int, *, model: str = "m", **more: Any) -> None:
        number = WeightsApplied.State.Value(state)
        said = {"role": "stream", "host": "h", "state": number, "version": version, "at_us": us, **more}
        self.on_report(WeightsApplied(model=model, worker=worker, **said))

    def states(self) -> dict[int, str]:
        return {line.version: line.state for line in self.versions(100)}
