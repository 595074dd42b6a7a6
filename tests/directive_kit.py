"""Directives in short, numbered as coordinators number them."""

from collections.abc import Callable, Sequence
from typing import Any

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.weights import Manifest

MODEL = "m"


def directive(
    action: str, version: int, sequence: int, *, epoch: int = 1, model: str = MODEL, **more: Any
) -> RolloutDirective:
    """A directive about a version whose digest is its number, unless ``more`` says otherwise."""
    said = {"manifest_digest": f"d{version}", **more}
    return RolloutDirective(
        model=model,
        action=RolloutDirective.Action.Value(action),
        version=version,
        sequence=sequence,
        coordinator_epoch=epoch,
        **said,
    )


class Coordinators:
    """What one model's coordinators write, one after the other, in `log`.

    Args:
        manifest: gives each version's manifest; without it, manifests are empty and digests made up.
    """

    def __init__(self, manifest: Callable[[int], Manifest] | None = None) -> None:
        self.log: list[RolloutDirective] = []
        self.epoch = 1
        self._manifest = manifest
        self._active = 0

    def take_over(self) -> None:
        """Another coordinator goes on."""
        self.epoch += 1

    def write(self, action: str, version: int, canaries: Sequence[str] = (), **more: Any) -> RolloutDirective:
        """Append the next directive."""
        if self._manifest is not None:
            made = self._manifest(version)
            more = {"manifest_digest": made.digest, "manifest": made.encode(), **more}
        told = directive(
            action,
            version,
            len(self.log) + 1,
            epoch=self.epoch,
            canaries=canaries,
            previous_version=self._active,
            **more,
        )
        self._active = version if action in {"ACTIVATE", "ROLL_BACK"} else self._active
        self.log.append(told)
        return told
