"""Which scope a request needs: one table for REST and one for gRPC, for every role."""

import re

from headrace.contracts.access import Scope

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready", "/v1/session"})
"""What load balancers and orchestrators ask, without a credential, and where the page's log-in takes one."""

_WRITES: tuple[tuple[re.Pattern[str], Scope], ...] = tuple(
    (re.compile(pattern), scope)
    for pattern, scope in (
        (r"/v2/models/.+/(infer|generate|generate_stream)", Scope.PREDICT),
        (r"/v1/pipelines/[^/]+/predict", Scope.PREDICT),
        (r"/v1/pipelines/[^/]+/(events|labels)(/.*)?", Scope.INGEST),
        (r"/v1/uploads(/.*)?", Scope.INGEST),
        (r"/v1/queues/.*", Scope.LABEL),
        (r"/v1/query", Scope.READ),
        (r"/v1/keys(/.*)?", Scope.ADMIN),
    )
)
_ADMIN_READS = re.compile(r"/v1/keys(/.*)?")

OPEN_METHODS = ("/grpc.health.v1.Health/",)
_GRPC_READS = re.compile(r"(Server|Model)(Live|Ready|Metadata|Config|Statistics)|RepositoryIndex|\w+MemoryStatus")


def rest_scope(method: str, path: str) -> Scope | None:
    """What a request needs; None where it needs nothing.

    A path that nobody has thought of needs `operate` to be changed, and `read` to be looked at.
    """
    if path in OPEN_PATHS:
        return None
    if method in _SAFE:
        return Scope.ADMIN if _ADMIN_READS.fullmatch(path) else Scope.READ
    return next((scope for pattern, scope in _WRITES if pattern.fullmatch(path)), Scope.OPERATE)


def grpc_scope(path: str) -> Scope | None:
    """What a call of `/package.Service/Method` needs; None where it needs nothing."""
    if path.startswith(OPEN_METHODS):
        return None
    service, _, method = path.strip("/").rpartition("/")
    if service.startswith("headrace.v1.Ingest"):
        return Scope.INGEST
    if method in ("ModelInfer", "ModelStreamInfer"):
        return Scope.PREDICT
    if service.startswith("grpc.reflection.") or _GRPC_READS.fullmatch(method):
        return Scope.READ
    return Scope.OPERATE


def includes(granted: frozenset[Scope], needed: Scope) -> bool:
    """Whether these scopes suffice."""
    return (
        needed in granted
        or Scope.ADMIN in granted
        or (needed is Scope.READ and Scope.OPERATE in granted)
    )  # fmt: skip
