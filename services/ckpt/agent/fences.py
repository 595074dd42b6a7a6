"""Fencing laggards out of readiness: only the agent knows what the fleet serves, so it tells each worker that is behind.

What holds:

- an ordinary flip fences nobody: a worker may be behind for the length of the grace;
- a worker that serves nothing yet is behind at once, so that its first version makes it ready only if that is the one
  that is meant for it by then;
- a worker that is told nothing stays as it is: the loss of the agent, or of the coordinator, fences nobody;
- a worker clears its fence itself by serving what was required; when something else is meant for it meanwhile, that is
  required instead. A successor of the agent learns from the worker's `Hello` what was.
"""

from headrace.weights.worker.wire import Require
from services.ckpt.agent.state import Model, Worker


def fence(worker: Worker, model: Model, now: float, grace_s: float) -> Require | None:
    """Return what to tell a worker, if there is anything to tell; called after each step of it and at each tick."""
    meant = model.meant_for(worker.hello.worker)
    if meant is None or worker.hello.protocol < 1:
        return None
    if worker.serving == meant.digest:
        fenced_by_another = worker.required not in {"", meant.digest}
        worker.behind_since, worker.required = None, ""
        return Require(meant.version, meant.digest) if fenced_by_another else None
    if worker.behind_since is None:
        worker.behind_since = now
    late = not worker.serving or bool(worker.required) or now - worker.behind_since >= grace_s
    if not late or worker.required == meant.digest:
        return None
    worker.required = meant.digest
    return Require(meant.version, meant.digest)
