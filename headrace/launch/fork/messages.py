"""What the supervisor asks of the fork server, and what it answers: one JSON object a datagram of a Unix socket."""

import msgspec

SERVER_MODULE = "headrace.launch.fork.server"
MOST_BYTES = 1 << 20
"""Size of the longest message."""
GONE_ON = b"gone on"
"""What follows `Started` once the new process no longer depends on the fork server."""


class Start(msgspec.Struct, frozen=True):
    """Run `python -m <module> <args>` with exactly the environment `env`, its output appended to the file `log`."""

    module: str
    args: tuple[str, ...]
    env: dict[str, str]
    log: str
    modules: tuple[str, ...] = ()
    """What to import, where it is not imported yet, before the process is forked."""


class Started(msgspec.Struct, frozen=True):
    """Process `pid`, now a child of the supervisor; or 0 and why there is none."""

    pid: int = 0
    error: str = ""
