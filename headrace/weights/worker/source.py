"""What a predictor needs of weights: a lease on the version to answer with.

    with weights.lease() as bound:
        outputs = bound.network(features)       # one version, however long this takes
        ... bound.version, bound.checkpoint     # what to write beside the answer

`StaticWeights` is the twin of `headrace.weights.worker.live.LiveWeights` that never changes by itself: for tests, for
batch work and for a checkpoint file.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from headrace.weights.errors import NotKept, NotReady
from headrace.weights.format.facts import VersionFacts
from headrace.weights.format.manifest import Manifest
from headrace.weights.format.payload import dump
from headrace.weights.worker.version_policy import TWO, VersionPolicy


@dataclass(frozen=True, slots=True)
class Bound:
    """A version bound to a network that is ready to answer. Not to be used after the lease that gave it.

    Attributes:
        version: the version's number.
        checkpoint: its manifest's digest.
        manifest: its lineage.
        network: in eval mode, without gradients; its tensors must not be changed.
    """

    version: int
    checkpoint: str
    manifest: Manifest
    network: nn.Module


class WeightsSource(Protocol):
    """Where a predictor's weights come from. Safe to use from several threads."""

    model: str

    @property
    def version(self) -> int:
        """The version that the next lease gives; 0 before the first."""
        ...

    @property
    def behind(self) -> str:
        """Why requests had better go to another worker.

        This one serves another version than it is to; "" if it does not.
        """
        ...

    def start(self) -> None:
        """Begin to follow the fleet's version."""
        ...

    def stop(self) -> None:
        """Stop following; leases held stay good."""
        ...

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait, ``timeout`` seconds at most, until `lease` gives a version; return whether it does."""
        ...

    def lease(self) -> AbstractContextManager[Bound]:
        """Bind the current version for the length of a ``with`` block.

        A block that ends by a `WeightsError` says that the version cannot serve; the fleet is told, and may take it
        back.

        Raises:
            NotReady: there is no version yet.
        """
        ...


class VersionedWeights(WeightsSource, Protocol):
    """Weights whose earlier versions may be had, too, as far as they are kept.

    Attributes:
        policy: which versions those are.
    """

    policy: VersionPolicy

    @property
    def versions(self) -> list[int]:
        """The versions that may be named, ascending; the live one among them."""
        ...

    @property
    def labels(self) -> dict[str, int]:
        """The versions that the fleet calls by a label (stable, canary), as far as they are held here."""
        ...

    def lease_of(self, version: int) -> AbstractContextManager[Bound]:
        """Bind a version by its number for the length of a ``with`` block.

        Raises:
            NotKept: it is not held here.
        """
        ...


class StaticWeights:
    """Weights that change only by `swap`.

    Args:
        network: put into eval mode; None for a source that is not ready yet.
        model: the model's name.
        version: the version to name.
        manifest: its lineage; by default one made from the network's tensors.
        policy: which versions are kept when another is swapped in.
    """

    def __init__(
        self,
        network: nn.Module | None,
        *,
        model: str = "static",
        version: int = 1,
        manifest: Manifest | None = None,
        policy: VersionPolicy = TWO,
    ) -> None:
        self.model, self.policy = model, policy
        self._bound: Bound | None = None
        self._served: dict[int, Bound] = {}  # the last one first
        self._ready = threading.Event()
        if network is not None:
            self.swap(network, version, manifest)

    @property
    def version(self) -> int:
        """See `WeightsSource.version`."""
        return self._bound.version if self._bound else 0

    @property
    def behind(self) -> str:
        """Never."""
        return ""

    def swap(self, network: nn.Module, version: int, manifest: Manifest | None = None) -> Bound:
        """Serve another network from the next lease on."""
        if manifest is None:
            facts = VersionFacts(model=self.model, version=version, base_version=version - 1, created_at=0)
            manifest = facts.manifest(memoryview(dump(network.state_dict())))
        network.eval().requires_grad_(requires_grad=False)
        self._bound = bound = Bound(version, manifest.digest, manifest, network)
        served = {version: bound, **{v: b for v, b in self._served.items() if v != version}}
        self._served = {v: served[v] for v in self.policy.kept(list(served))}
        self._ready.set()
        return bound

    @property
    def versions(self) -> list[int]:
        """See `VersionedWeights.versions`."""
        return sorted(self._served)

    @property
    def labels(self) -> dict[str, int]:
        """The live version is the stable one."""
        return {"stable": self._bound.version} if self._bound else {}

    def lease_of(self, version: int) -> AbstractContextManager[Bound]:
        """See `VersionedWeights.lease_of`."""
        bound = self._served.get(version)
        if bound is None:
            raise NotKept(f"model {self.model} does not keep version {version}")
        return nullcontext(bound)

    def start(self) -> None:
        """Nothing to follow."""

    def stop(self) -> None:
        """Nothing to stop."""

    def wait_ready(self, timeout: float | None = None) -> bool:
        """See `WeightsSource.wait_ready`."""
        return self._ready.wait(timeout)

    def lease(self) -> AbstractContextManager[Bound]:
        """See `WeightsSource.lease`."""
        if self._bound is None:
            raise NotReady(f"model {self.model} has no version yet")
        return nullcontext(self._bound)
