"""What is shown of a worker, of an agent and of a version: by `headrace ckpt`, by pages, and as JSON for programs."""

import msgspec


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker now. `age_s` is its version's age, `heard_s` how long ago it was heard of; None where it is not known.

    `active` is the fleet's version, `meant` the one that this worker is to serve, as one of its canaries if `canary`.
    """

    model: str
    worker: str
    role: str
    host: str
    version: int
    active: int
    state: str
    age_s: float | None
    heard_s: float
    error: str = ""
    fenced: bool = False
    """It is not ready: its agent fenced it until it serves what it is to."""
    agent: str = ""
    meant: int = 0
    canary: bool = False


class AgentStatus(msgspec.Struct, frozen=True):
    """An agent, for one model. `from_store` and `from_peers` are bytes of the version that its workers serve.

    `to_peers` are the bytes of the model that it has given to other agents since it started. `address` is where it
    gives them, "" if it does not.
    """

    model: str
    agent: str
    host: str
    workers: int
    version: int
    from_store: int
    from_peers: int
    to_peers: int
    address: str
    heard_s: float


class VersionStatus(msgspec.Struct, frozen=True):
    """What became of a version. Times are in µs since the epoch, 0 where it has not happened or is not known any more.

    `activate_ms` is from its publication until every worker that had it ready when it was activated served it. `pulled`
    is the most bytes of it that travelled to a host, None where none reported; `from_stores` and `from_peers` are all
    hosts' together.
    """

    model: str
    version: int
    checkpoint: str
    state: str
    published_us: int
    activated_us: int
    activate_ms: float | None
    workers: int
    size: int
    step: int
    metrics: dict[str, float]
    reason: str = ""
    pulled: int | None = None
    cause: str = ""
    """Of a version that was taken back: operator, failures, alert or silence."""
    from_stores: int = 0
    from_peers: int = 0


class RolloutTimeline(msgspec.Struct, frozen=True):
    """How one version came to each worker. Times are in µs since the epoch, 0 where nothing was read of it.

    `staged` is when each worker first had it ready, `served` when each first served it.
    """

    model: str
    version: int
    published_us: int
    activated_us: int
    staged: dict[str, int]
    served: dict[str, int]
