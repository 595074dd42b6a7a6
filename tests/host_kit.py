"""A `HostAgent` that is told of directives and workers' messages in short, and what it answers in short."""

import torch

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.weights import MemoryChunkStore, VersionFacts, publish_version
from headrace.weights.worker.wire import Active, Hello, Label, Staged
from services.ckpt.agent.service import HostAgent
from services.ckpt.agent.state import Send


def manifest(version: int, shape: tuple[int, ...] = (2,)):
    return publish_version(
        {"w": torch.full(shape, float(version))},
        VersionFacts(model="m", version=version, base_version=version - 1, epoch=1, step=1, created_at=0),
        store=MemoryChunkStore(),
    )


V1, V2, V3 = (manifest(version) for version in (1, 2, 3))


SCHEMA = V1.schema_hash


class Host:
    """A `HostAgent` with what it said."""

    def __init__(self, key: bytes | None = None) -> None:
        self.agent = HostAgent(agent="agent", host="here", signing_key=key, fence_grace_s=5.0)
        self.sequence = 0
        self.now = 100.0

    def direct(
        self, action: str, of, *, epoch: int = 1, sequence: int = 0, signature: str = "", digest: str = "", canaries=()
    ):
        self.sequence += 1
        directive = RolloutDirective(
            model="m",
            action=RolloutDirective.Action.Value(action),
            version=of.version,
            sequence=sequence or self.sequence,
            coordinator_epoch=epoch,
            manifest_digest=digest or of.digest,
            manifest=of.encode(),
            signature=signature,
            issued_at_us=int((self.now - 0.25) * 1e6),
            canaries=canaries,
        )
        return self.told(self.agent.on_directive(directive, self.now))

    def hello(
        self,
        connection: int,
        worker: str,
        *,
        schema: str = SCHEMA,
        serving: str = "",
        version: int = 0,
        holds=(),
        required="",
        protocol: int = 0,
        keeps: int = 2,
    ):
        message = Hello(worker, "test", "m", schema, 1, version, serving, list(holds), required, protocol, keeps)
        return self.told(self.agent.on_message(connection, message, self.now))

    def hear(self, connection: int, message):
        return self.told(self.agent.on_message(connection, message, self.now))

    def pull(self):
        version = self.agent.next_pull(self.now)
        return self.told(self.agent.on_pulled(version, f"/slot/{version.version}", 10, 0.1, self.now))

    @staticmethod
    def told(effects):
        """Messages as (connection, kind, version or digest), reports as (worker, state, version)."""
        said = []
        for effect in effects:
            if isinstance(effect, Send):
                message = effect.message
                what = message.digests if isinstance(message, Label) else getattr(message, "version", None)
                said.append((effect.connection, type(message).__name__, message.digest if what is None else what))
            else:
                state = WeightsApplied.State.Name(effect.applied.state)
                said.append((effect.applied.worker, state, effect.applied.version))
        return said

    def serving(self, connection: int, of):
        """Bring one worker to serve a version whose slot is ready."""
        self.hear(connection, Staged(of.version, of.digest, {}))
        return self.hear(connection, Active(of.version, of.digest, {}))


def serving(host, *names: str, of=V1, also=()):
    """Workers 1, 2, ... that serve a version, which is active."""
    host.direct("ACTIVATE", of)
    for connection, name in enumerate(names, 1):
        holds = [of.digest, *(other.digest for other in also)]
        host.hello(connection, name, serving=of.digest, version=of.version, holds=holds, protocol=1)
