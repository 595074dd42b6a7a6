"""Who may do what: records of the topics `headrace.keys` and `headrace.audit`, in JSON."""

from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """What a caller may do. `operate` includes `read`; `admin` includes everything."""

    READ = "read"
    """Look at predictions, models, figures, data."""
    INGEST = "ingest"
    """Send events and labels, upload data."""
    PREDICT = "predict"
    """Ask a model."""
    LABEL = "label"
    """Take items of the labelling queues and label them."""
    OPERATE = "operate"
    """Change what runs: roll back, load models, start jobs, approve runs of rules."""
    ADMIN = "admin"
    """Everything, keys included."""


class ApiKey(msgspec.Struct, frozen=True):
    """An API key, without its secret. The newest record of an id counts.

    Times are in µs since the epoch; 0 means never.
    """

    id: str
    name: str
    digest: str
    """SHA-256 of the secret, in hex. The secret has 256 random bits, so that a slow hash would add nothing."""
    scopes: tuple[Scope, ...]
    created_us: int
    created_by: str = ""
    expires_us: int = 0
    revoked_us: int = 0
    rate: float = 0.0
    """Requests a second that it may make for long; 0 for no limit."""
    burst: int = 0
    """Requests that it may make at once; 0 for as many as in a second."""


class AuditEntry(msgspec.Struct, frozen=True):
    """A request that changed something or was to, or that was refused."""

    at_us: int
    principal: str
    """`key:<id>` or `token:<subject>`; "" where nobody could be identified."""
    name: str
    """The key's or the subject's name."""
    scope: str
    """What was needed."""
    role: str
    instance: str
    what: str
    """Method and path, or the gRPC method."""
    status: int
    """The HTTP status, or the gRPC status code."""
    peer: str
    """The caller's address."""
    detail: str = ""
    """Why it was refused."""
