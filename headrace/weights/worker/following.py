"""Weights without an agent: a client that reads Kafka and the chunk store follows the fleet's version by itself.

It is for a notebook, a batch job or a bridge to another server. It takes no part in rollouts: no rollout waits for it,
it may lag behind the fleet by the time that one pull takes, and its weights are a copy of its own. A worker that serves
uses `LiveWeights`.

One thread reads directives. Another loads the newest activated version, and skips versions that were superseded in the
meantime.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.rollouts.feed import DirectiveFeed
from headrace.rollouts.view import RolloutView
from headrace.runtime.errors import HeadraceError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from headrace.weights.errors import DeltaError, ManifestError, NotReady, StoreError
from headrace.weights.format.manifest import Manifest, check_signature
from headrace.weights.host.fetching import fetch
from headrace.weights.opening import open_store, signing_keys
from headrace.weights.worker.shadow import Build, Shadows, WarmUp
from headrace.weights.worker.source import Bound

log = get_logger("headrace.weights")

RETRY_S = 0.5
"""Seconds before a store or a broker that did not answer is asked again."""


class FollowedWeights:
    """See `headrace.weights.worker.source.WeightsSource`.

    Args:
        settings: where Kafka and the chunks are, and the key of manifests.
        model: the model's name.
        build: makes a network, one for each version.
        warm_up: called with each new network before it serves; what it raises refuses the version.
        on_change: called with each version that begins to serve, from the thread that loaded it.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        model: str,
        build: Build,
        *,
        warm_up: WarmUp | None = None,
        on_change: Callable[[Bound], None] | None = None,
    ) -> None:
        self.model = model
        self.error = ""
        """Why the fleet's version is not the one that is served here; "" when it is."""
        self._settings = settings
        self._shadows = Shadows(build, warm_up)
        self._on_change = on_change
        self._key = signing_keys(settings)
        self._store = open_store(settings)
        self._view = RolloutView(model)
        self._bound: Bound | None = None
        self._previous: Bound | None = None  # kept, so that following a rollback pulls nothing
        self._caught_up = False
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._wake = threading.Condition()
        self._wanted: RolloutDirective | None = None
        self._threads = [
            threading.Thread(target=self._read_for_ever, name="weights-directives", daemon=True),
            threading.Thread(target=self._load_for_ever, name="weights-loader", daemon=True),
        ]

    @property
    def version(self) -> int:
        """See `WeightsSource.version`."""
        bound = self._bound
        return bound.version if bound else 0

    @property
    def behind(self) -> str:
        """See `WeightsSource.behind`: why the fleet's version is not the one that is served here."""
        return self.error

    @property
    def why_not_ready(self) -> str:
        """What to look at where no version was served yet."""
        if self.error:
            return self.error
        return "was a version activated?" if self._caught_up else "Kafka does not answer: is its address right?"

    def start(self) -> None:
        """See `WeightsSource.start`."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """See `WeightsSource.stop`."""
        self._stopping.set()
        with self._wake:
            self._wake.notify_all()
        reader, loader = self._threads
        if loader.is_alive():
            loader.join()
            reader.join(1.0)  # it may wait for a broker that does not answer, and has nothing to finish
        self._store.close()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """See `WeightsSource.wait_ready`."""
        return self._ready.wait(timeout)

    def lease(self) -> AbstractContextManager[Bound]:
        """See `WeightsSource.lease`."""
        bound = self._bound
        if bound is None:
            raise NotReady(f"model {self.model} has no version yet", hint=self.why_not_ready)
        return nullcontext(bound)

    # Reading, in its own thread.

    def _read_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                DirectiveFeed(self._settings, self.model).run(self._stopping, self._on_directive, self._on_caught_up)
            except HeadraceError as error:
                self._report("directives cannot be read", error)
                self._stopping.wait(RETRY_S)

    def _on_directive(self, directive: RolloutDirective) -> None:
        before = self._view.active_digest
        if self._view.apply(directive) and self._caught_up and self._view.active_digest != before:
            self._want(directive)

    def _on_caught_up(self) -> None:
        self._caught_up = True
        self.error = ""
        if self._view.active is not None:
            self._want(self._view.active)

    def _want(self, directive: RolloutDirective) -> None:
        with self._wake:
            self._wanted = directive
            self._wake.notify_all()

    # Loading, in its own thread.

    def _load_for_ever(self) -> None:
        while not self._stopping.is_set():
            with self._wake:
                while self._wanted is None and not self._stopping.is_set():
                    self._wake.wait()
                order, self._wanted = self._wanted, None
            if order is not None and not self._stopping.is_set():
                self._serve(order)

    def _serve(self, order: RolloutDirective) -> None:
        try:
            self._flip(self._held(order.manifest_digest) or self._load(order))
        except (StoreError, DeltaError) as error:
            self._report(f"version {order.version} cannot be pulled", error)
            self._stopping.wait(RETRY_S)
            with self._wake:
                self._wanted = self._wanted or order
        except Exception as error:  # noqa: BLE001 - a version that cannot be loaded must not end the process
            self._report(f"version {order.version} refused", error)

    def _held(self, digest: str) -> Bound | None:
        return next((b for b in (self._bound, self._previous) if b is not None and b.checkpoint == digest), None)

    def _load(self, order: RolloutDirective) -> Bound:
        """Pull a version; its signature, digest and schema are checked before a byte of it travels."""
        check_signature(order.manifest, order.signature, self._key)
        manifest = Manifest.decode(order.manifest)
        if manifest.digest != order.manifest_digest:
            raise ManifestError(
                f"the manifest's digest is {manifest.digest}, the directive names {order.manifest_digest}"
            )
        manifest.check_schema(self._shadows.schema_hash)
        network = self._shadows.make(manifest, fetch(manifest, self._store), {})
        return Bound(manifest.version, manifest.digest, manifest, network)

    def _flip(self, bound: Bound) -> None:
        self.error = ""
        if bound is self._bound:
            return
        self._previous, self._bound = self._bound, bound
        self._ready.set()
        log.info("serving", model=self.model, version=bound.version, checkpoint=bound.checkpoint)
        if self._on_change is not None:
            self._on_change(bound)

    def _report(self, what: str, error: Exception) -> None:
        text = f"{what}: {type(error).__name__}: {error}"
        if text != self.error:  # once, not every half second of an outage
            log.warning("weights not followed", model=self.model, error=text)
        self.error = text
