"""The agent's part among agents: what it serves, and how it takes chunks from others by the coordinator's plan."""

from collections.abc import Callable, Mapping
from functools import partial

from headrace.runtime.access.edge import call_context
from headrace.runtime.access.tls import Certificates, Watch
from headrace.runtime.errors import ConfigError
from headrace.runtime.logging import get_logger
from headrace.weights import ChunkStore, Manifest
from headrace.weights.errors import ChunkCorrupt
from headrace.weights.format.manifest import Keys
from headrace.weights.host.peers.chunk_leases import ChunkLeases
from headrace.weights.host.peers.client import PeerConnection
from headrace.weights.host.peers.exchange import Exchange
from headrace.weights.host.peers.routes import Plan, Routes, Shunned, is_loopback
from headrace.weights.host.peers.server import PeerServer
from headrace.weights.host.present_chunks import PresentChunks
from services.ckpt.agent import metrics
from services.ckpt.agent.settings import AgentSettings

log = get_logger("headrace.ckpt")

SHUNNED_S = 10.0
"""Seconds for which an agent that was away or slow is left alone: longer than the coordinator takes to miss it."""
SHUNNED_CORRUPT_S = 600.0
_EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to


class Peers:
    """Serves this host's chunks from `open` to `close`, and takes others' from any thread, one version at a time.

    Args:
        settings: the agent's.
        leases: what is served.
        key: the manifests' key, None where there is none.
    """

    def __init__(self, settings: AgentSettings, leases: ChunkLeases, key: Keys) -> None:
        self._settings = settings
        self._leases = leases
        self._shunned = Shunned()
        tls = _tls(settings)
        trusted = None if tls is None else call_context(settings)
        self._dial = partial(PeerConnection, key=key, tls=trusted, patience_s=settings.peer_patience_s)
        self._server = PeerServer(
            leases,
            key=key,
            tls=None if tls is None else tls.context,
            limit=settings.peer_connections,
            on_served=_count,
        )
        self._watch = Watch([] if tls is None else [tls])

    def open(self) -> str:
        """Listen, and return the address for others.

        Raises:
            ConfigError: the address cannot be had.
        """
        settings = self._settings
        self._watch.start()
        port = self._server.open(settings.host, settings.peer_port)
        host = settings.peer_host or (settings.host_name if settings.host in _EVERYWHERE else settings.host)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("serving chunks to other agents", address=address, this_host_only=is_loopback(address))
        return address

    def close(self) -> None:
        """Stop serving."""
        self._watch.stop()
        self._server.close()

    def routes(self, plan: Plan | None) -> Routes | None:
        """Return this agent's view of a plan; None where there is none."""
        if plan is None or not plan.members:
            return None
        return Routes(plan, agent=self._settings.instance, host=self._settings.host_name, shunned=self._shunned)

    def take(
        self,
        manifest: Manifest,
        buffer: memoryview,
        present: PresentChunks,
        *,
        resident: Mapping[str, memoryview],
        routes: Routes,
        store: ChunkStore | None,
        cancelled: Callable[[], bool],
    ) -> tuple[int, int]:
        """Fill what can be filled of a buffer, and return the bytes that came from the store and from peers.

        For the arguments see `headrace.weights.host.peers.exchange.Exchange`.

        Raises:
            Superseded: ``cancelled`` said so.
        """
        exchange = Exchange(
            manifest,
            buffer,
            present=present,
            resident=resident,
            peers=routes.peers,
            store=store,
            dial=self._dial,
            arrived=self._leases.arrived,
            cancelled=cancelled,
        )
        if exchange.missing < max(1, routes.min_bytes):
            return 0, 0
        done = exchange.run()
        for address, error in done.failed.items():
            corrupt = isinstance(error, ChunkCorrupt)
            metrics.PEER_FAILURES.labels(manifest.model, "corrupt" if corrupt else "lost").inc()
            self._shunned.add(address, SHUNNED_CORRUPT_S if corrupt else SHUNNED_S)
        return done.from_store, done.from_peers


def _count(model: str, size: int) -> None:
    metrics.TO_PEERS.labels(model).inc(size)


def _tls(settings: AgentSettings) -> Certificates | None:
    """Mutual TLS between agents, where there are certificates.

    Raises:
        ConfigError: nobody says whose certificates are taken.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    authorities = settings.tls_client_ca or settings.tls_ca
    if authorities is None:
        raise ConfigError("agents ask each other for certificates: whose?", hint="--tls-client-ca, or --tls-ca")
    return Certificates(settings.tls_cert, settings.tls_key, authorities)
