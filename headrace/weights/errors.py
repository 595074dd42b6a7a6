"""What can go wrong between a trainer's tensors and a worker's network.

WeightsError                     headrace.runtime.errors, exit code 6
├── ManifestError                not a manifest, not canonical, spans that do not add up
├── SignatureError               a signing key is set, and the manifest is unsigned or wrongly signed
├── IncompatibleWeights          the tensors are not those of the network that is to take them
├── NonFiniteWeights             a tensor holds NaN or infinity
├── NotReady                     no version has been activated yet
├── NotKept                      a version was asked for by its number, and is not held here (any more)
├── Superseded                   a newer version made this work pointless; it was given up, nothing is wrong
├── DeltaError                   a delta is not one, or what was built by it is not the version that it should be
│   └── ChainBroken              the stores answer, and the version can be built from nothing that they hold
├── StoreError                   a chunk could not be had from, or put into, a store
│   ├── ChunkMissing             the store answers, and does not hold the chunk
│   ├── ChunkCorrupt             the store's bytes are not those that the digest names
│   └── StoreUnavailable         the store does not answer, or refuses to write: exit code 3, since a restart may help
├── PeerError                    another agent could not give a chunk: it is taken elsewhere
└── SlotError                    shared memory: a slot is gone, holds something else, or there is no room
    └── SlotsBusy                every slot is kept or still mapped by a worker: try again when one is released
"""

from headrace.runtime.errors import ExitCode, WeightsError

__all__ = [
    "LOST",
    "ChainBroken",
    "ChunkCorrupt",
    "ChunkMissing",
    "DeltaError",
    "IncompatibleWeights",
    "ManifestError",
    "NonFiniteWeights",
    "NotKept",
    "NotReady",
    "PeerError",
    "SignatureError",
    "SlotError",
    "SlotsBusy",
    "StoreError",
    "StoreUnavailable",
    "Superseded",
    "WeightsError",
]


class ManifestError(WeightsError):
    """Bytes that are no manifest, or a manifest that contradicts itself."""


class SignatureError(WeightsError):
    """A manifest whose signature does not fit the configured key."""


class IncompatibleWeights(WeightsError):  # noqa: N818 - reads as the sentence it is
    """Tensors that the network cannot take: names, dtypes or shapes differ."""


class NonFiniteWeights(WeightsError):  # noqa: N818
    """A floating point tensor holds NaN or infinity."""


class NotKept(WeightsError):  # noqa: N818
    """A version that was asked for by its number, and is not held here (any more)."""


class NotReady(WeightsError):  # noqa: N818
    """No version has been activated yet."""


class Superseded(WeightsError):  # noqa: N818
    """The work was given up because a newer version replaced it."""


class DeltaError(WeightsError):
    """A delta that does not fit its version, or a version that could not be built by deltas."""


class ChainBroken(DeltaError):  # noqa: N818 - reads as the sentence it is
    """What a version published as a delta is built from is missing or corrupt in every store that answers."""


class StoreError(WeightsError):
    """A chunk could not be read or written."""


class ChunkMissing(StoreError):  # noqa: N818
    """The store does not hold the chunk."""


class ChunkCorrupt(StoreError):  # noqa: N818
    """The store's bytes do not have the digest that names them."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store does not answer or takes no writes.

    It is the storage that is away, and nothing is wrong with weights.
    """

    exit_code = ExitCode.DEPENDENCY


LOST = (ChunkMissing, ChunkCorrupt, ChainBroken)
"""Of a version that cannot be had: no store is away, but all lack something of it; its trainer can put it back."""


class PeerError(WeightsError):
    """Another agent is away, slow, without the key, or does not keep to the protocol."""


class SlotError(WeightsError):
    """A shared-memory slot is gone, holds another version, or cannot be made."""


class SlotsBusy(SlotError):  # noqa: N818
    """Every slot is kept or mapped; none may be written now."""
