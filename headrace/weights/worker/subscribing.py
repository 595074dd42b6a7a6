"""`subscribe`: a model's weights in any PyTorch process, without the rest of Headrace.

    with subscribe("flights", network, agent="/run/headrace") as weights:
        with weights.lease() as bound:
            outputs = bound.network(features)       # version bound.version, whatever the fleet does meanwhile

docs/weights-client.md is the guide.
"""

import contextlib
import copy
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from headrace.runtime.logging import leave_to_host
from headrace.weights.errors import NotReady
from headrace.weights.worker.client import socket_in
from headrace.weights.worker.shadow import WarmUp
from headrace.weights.worker.source import Bound, WeightsSource

if TYPE_CHECKING:  # beside an agent, neither Kafka's client nor settings are imported
    from headrace.runtime.settings import ServiceSettings
    from headrace.weights.worker.following import FollowedWeights
    from headrace.weights.worker.live import LiveWeights

TIMEOUT_S = 60.0
OnChange = Callable[[Bound], None]


@contextlib.contextmanager
def subscribe(
    model: str,
    network: nn.Module | Callable[[], nn.Module],
    *,
    agent: str | Path | None = None,
    kafka: str = "",
    redis: str = "",
    storage: str | Path = "",
    name: str = "",
    warm_up: WarmUp | None = None,
    on_change: OnChange | None = None,
    timeout: float = TIMEOUT_S,
) -> Iterator[WeightsSource]:
    """Follow the version that a model's fleet serves, for the length of a ``with`` block, in background threads.

    With ``agent`` the process is a worker of the fleet: it shares the host's one copy of the weights, versions are
    swapped in when everybody's are, and rollouts wait for it. Without, it reads Kafka and the chunk store by itself:
    nobody waits for it, and it follows a pull later with a copy of its own.

    Args:
        model: the model's name, which is its pipeline's.
        network: makes a network with the tensors of the model's (names, dtypes, shapes), or is one, to be copied.
        agent: the agent's run folder or socket.
        kafka: the brokers, without ``agent``; default KAFKA_BOOTSTRAP_SERVERS.
        redis: the Redis in front of the storage, without ``agent``; default REDIS_URL, and none if that is empty too.
        storage: folder or URL of the chunks, without ``agent``; default HEADRACE_STORAGE_URL, then
        HEADRACE_STORAGE_DIR.
        name: this worker's name in `headrace ckpt status`; default <host>-<pid>.
        warm_up: called with each new network before it serves, for a forward pass; what it raises refuses the version.
        on_change: called with each version that begins to serve, from a background thread; it must be quick.
        timeout: seconds to wait for the first version.

    Raises:
        NotReady: no version was served within ``timeout``; says why, where that is known.
        ConfigError: a setting is wrong, or the storage's driver is not installed.
    """
    leave_to_host()
    build = network if not isinstance(network, nn.Module) else lambda: copy.deepcopy(network)
    weights: LiveWeights | FollowedWeights
    if agent is not None:
        from headrace.weights.worker import live

        worker, path = name or f"{socket.gethostname()}-{os.getpid()}", _socket(Path(agent))
        weights = live.LiveWeights(
            path, model, build, worker=worker, role="client", warm_up=warm_up, on_change=on_change
        )
    else:
        from headrace.weights.worker import following

        settings = _settings(kafka, redis, str(storage), name)
        weights = following.FollowedWeights(settings, model, build, warm_up=warm_up, on_change=on_change)
    weights.start()
    try:
        if not weights.wait_ready(timeout):
            raise NotReady(f"model {model} served no version within {timeout:g} s", hint=weights.why_not_ready)
        yield weights
    finally:
        weights.stop()


def _socket(agent: Path) -> Path:
    return socket_in(agent) if agent.is_dir() else agent


def _settings(kafka: str, redis: str, storage: str, name: str) -> "ServiceSettings":
    """The environment's, with what was given in its place."""
    from headrace.runtime.settings import ServiceSettings, load

    kind = "--storage-url" if "://" in storage else "--storage-dir"
    given = {"--kafka-bootstrap-servers": kafka, "--redis-url": redis, "--instance": name, kind: storage}
    settings = load(
        ServiceSettings, "client", [part for flag, value in given.items() if value for part in (flag, value)]
    )
    # A folder that is named here goes before a URL from the environment.
    return settings.model_copy(update={"storage_url": ""}) if storage and kind == "--storage-dir" else settings
