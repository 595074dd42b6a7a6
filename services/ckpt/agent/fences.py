"""Fencing: a worker that is behind for too long is told that it is not ready. Only the agent knows what it is to serve.

What holds:

- an ordinary flip fences no worker: a worker may be behind for the length of the grace;
- a worker that serves nothing yet is behind at once, so that its first version makes it ready only if it is the version
  that is meant for it by then;
- a worker that is told nothing stays as it is: the loss of the agent, or of the coordinator, fences no worker;
- a worker clears its fence itself by serving the version that was required; when another version is meant for it
  meanwhile, that one is required instead. An agent that replaces another learns from the worker's `Hello` which version
  was required.
"""

from headrace.weights.worker.wire import Require
from services.ckpt.agent.state import ConnectedWorker
from services.ckpt.agent.versions import Version


def fence(worker: ConnectedWorker, meant: Version | None, now: float, grace_s: float) -> Require | None:
    """Return what to tell a worker, if anything; called after each step of it and at each tick.

    Args:
        worker: the worker.
        meant: the version that it is to serve.
        now: seconds since the epoch.
        grace_s: seconds for which it may be behind.
    """
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
