"""The worker's live weights: follows the host's agent, and swaps versions without anybody noticing.

Three threads have their part, and none waits for another while serving:

- Any number of serving threads `lease` the current version: one reference read and one count, under a lock held for a
  microsecond.
- The client's thread receives from the agent. `Activate` of a version that is warm is one assignment: the flip.
- The staging thread maps a version, builds its shadow network and warms it up, and gives way to the serving threads
  (`headrace.weights.worker.staging_throttle`). Only the newest version waiting is staged.

A version is `staged`, then `current`, then kept warm for a while, so that a rollback is a flip as well and requests may
name it (`headrace.weights.worker.residents`), then retired: when its last lease ends, its network gives its tensors up,
its slot's lock goes with them, and the agent is told.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from headrace.runtime.logging import get_logger
from headrace.runtime.scheduling import wake_as_usual
from headrace.runtime.secrets import clean
from headrace.weights.errors import NotKept, NotReady, WeightsError
from headrace.weights.format.manifest import Manifest
from headrace.weights.worker.client import AgentClient
from headrace.weights.worker.copied import structures_on
from headrace.weights.worker.mapping import map_slot, thin
from headrace.weights.worker.pinned_slots import PinnedSlots
from headrace.weights.worker.required_version import RequiredVersion
from headrace.weights.worker.residents import Resident, Residents
from headrace.weights.worker.shadow import Build, Shadows, WarmUp
from headrace.weights.worker.source import Bound
from headrace.weights.worker.staging_throttle import StagingThrottle
from headrace.weights.worker.version_policy import TWO, VersionPolicy
from headrace.weights.worker.wire import (
    PROTOCOL,
    Activate,
    Active,
    Failed,
    Hello,
    Keep,
    Kept,
    Label,
    Released,
    Require,
    Retire,
    Stage,
    Staged,
    ToWorker,
)

log = get_logger("headrace.weights")


class _Lease:
    """A ``with`` block's hold on a version."""

    __slots__ = ("_owner", "_resident", "_version")

    def __init__(self, owner: "LiveWeights", version: int = 0) -> None:
        self._owner, self._version = owner, version
        self._resident: Resident | None = None

    def __enter__(self) -> Bound:
        self._resident = self._owner._admit(self._version)  # noqa: SLF001 - one mechanism in two classes
        return self._resident.bound

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._resident is not None:
            if isinstance(error, WeightsError):
                self._owner._cannot_serve(self._resident, error)  # noqa: SLF001
            self._owner._release(self._resident)  # noqa: SLF001
            self._resident = None


class LiveWeights:
    """See `headrace.weights.worker.source.WeightsSource`.

    Args:
        socket: the agent's Unix socket (`headrace.weights.agent_socket(settings)`).
        model: the model's name.
        build: makes a network; called a few times, its result recycled over versions.
        worker: this worker's name, unique in the fleet.
        role: what it does (stream, rpc), for people to read.
        warm_up: called with each new network before it may serve: a forward pass on sample features. What it raises
            refuses the version.
        on_change: called with each version that begins to serve, from the thread that flipped; it must be quick.
        on_behind: called with why this worker is behind its fleet, and with "" when it has caught up; it must be quick.
        finite: refuse versions with NaN or infinity in a tensor.
        device: where the networks compute; features and outputs are on the host all the same.
        policy: which versions are kept beside the live one; the one before it always is.
    """

    def __init__(
        self,
        socket: Path,
        model: str,
        build: Build,
        *,
        worker: str,
        role: str,
        warm_up: WarmUp | None = None,
        on_change: Callable[[Bound], None] | None = None,
        on_behind: Callable[[str], None] | None = None,
        finite: bool = True,
        device: Device = HOST,
        policy: VersionPolicy = TWO,
    ) -> None:
        self.model = model
        self.policy = policy
        self.worker = worker
        self.role = role
        self._on_change = on_change
        self._standing = RequiredVersion(on_behind)
        self._lock = threading.Lock()
        self._courtesy = StagingThrottle(self._lock)
        self._device, self._slots = device, PinnedSlots(device)
        self._shadows = Shadows(build, warm_up, self._courtesy.give_way, finite=finite, structure=structures_on(device))
        self._held = Residents(policy)
        self._ready = threading.Event()
        self._client = AgentClient(socket, self._hello, self._receive)
        # The staging thread's mailbox: the newest version to stage, and a version to serve as soon as it is staged.
        self._wake = threading.Condition(self._lock)
        self._wanted: Stage | None = None
        self._to_keep: list[Keep] = []
        self._staging = ""
        self._activate_when_staged: Activate | None = None
        self._dead: list[Resident] = []
        self._stopping = False
        self._stager = threading.Thread(target=self._stage_for_ever, name="weights-stager", daemon=True)

    @property
    def version(self) -> int:
        """See `WeightsSource.version`."""
        current = self._held.current
        return current.bound.version if current else 0

    @property
    def versions(self) -> list[int]:
        """See `VersionedWeights.versions`."""
        with self._lock:
            return self._held.versions()

    @property
    def labels(self) -> dict[str, int]:
        """See `VersionedWeights.labels`."""
        with self._lock:
            return self._held.labelled()

    @property
    def behind(self) -> str:
        """See `WeightsSource.behind`."""
        return self._standing.behind

    @property
    def connected(self) -> bool:
        """Whether the agent is there; serving goes on without it."""
        return self._client.connected

    @property
    def why_not_ready(self) -> str:
        """What to look at where no version was served yet."""
        return "was a version activated?" if self.connected else "no agent answers on its socket: is it running?"

    @property
    def seconds(self) -> dict[str, float]:
        """How long each step of the last swap took: map, check, load, warm_up, stage, activate."""
        current = self._held.current
        return dict(current.seconds) if current else {}

    def start(self) -> None:
        """See `WeightsSource.start`."""
        self._stager.start()
        self._client.start()

    def stop(self) -> None:
        """See `WeightsSource.stop`."""
        self._client.stop()
        with self._lock:
            self._stopping = True
            self._wake.notify_all()
        if self._stager.is_alive():
            self._stager.join()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """See `WeightsSource.wait_ready`."""
        return self._ready.wait(timeout)

    def lease(self) -> AbstractContextManager[Bound]:
        """See `WeightsSource.lease`; the version is bound when the block is entered."""
        return _Lease(self)

    def lease_of(self, version: int) -> AbstractContextManager[Bound]:
        """See `VersionedWeights.lease_of`."""
        return _Lease(self, version)

    def _admit(self, version: int) -> Resident:
        with self._lock:
            chosen = self._held.numbered(version) if version else self._held.current
            if chosen is None and version:
                raise NotKept(f"model {self.model} does not keep version {version}")
            if chosen is None:
                raise NotReady(
                    f"model {self.model} has no version yet", hint="Is the agent up, and a checkpoint published?"
                )
            chosen.leases += 1
            self._courtesy.admitted()
            return chosen

    def _release(self, resident: Resident) -> None:
        with self._lock:
            resident.leases -= 1
            self._courtesy.released()
            self._bury(resident)

    def _cannot_serve(self, resident: Resident, error: WeightsError) -> None:
        """Tell the fleet before whoever raised it ends this process."""
        bound = resident.bound
        log.warning("version cannot serve", model=self.model, version=bound.version, error=str(error))
        self._client.send(Failed(bound.version, bound.checkpoint, str(error), while_serving=True))

    # From the agent, in the client's thread.

    def _hello(self) -> Hello:
        with self._lock:
            current = self._held.current
            held = [one.bound.checkpoint for one in self._held]
        return Hello(
            worker=self.worker,
            role=self.role,
            model=self.model,
            schema_hash=self._shadows.schema_hash,
            pid=os.getpid(),
            version=current.bound.version if current else 0,
            serving=current.bound.checkpoint if current else "",
            holds=held,
            required=self._standing.required,
            protocol=PROTOCOL,
            keeps=self.policy.most,
        )

    def _receive(self, message: ToWorker) -> None:
        if isinstance(message, Stage):
            with self._lock:
                self._wanted = message
                self._wake.notify_all()
        elif isinstance(message, Activate):
            self._activate(message)
        elif isinstance(message, Retire):
            self._retire_staged(message.digest)
        elif isinstance(message, Require):
            self._standing.require(message)
        elif isinstance(message, Label):
            with self._lock:
                self._held.labels = message.digests
        elif isinstance(message, Keep):
            with self._lock:
                self._to_keep.append(message)
                self._wake.notify_all()

    def _activate(self, order: Activate) -> None:
        started = time.perf_counter()
        with self._lock:
            pending = self._wanted.digest if self._wanted else self._staging
            if self._held.find(order.digest) is None and pending == order.digest:
                self._activate_when_staged = order
                return
            self._activate_when_staged = None
        if self._flip(order.digest, started):
            return
        self._client.send(Failed(order.version, order.digest, "told to serve a version that is not staged here"))

    def _flip(self, digest: str, started: float, *, only_if_ordered: bool = False) -> bool:
        """Serve a version that is held, or only if the newest order is to serve it once it is staged; False if not."""
        with self._lock:
            if only_if_ordered:
                if self._activate_when_staged is None or self._activate_when_staged.digest != digest:
                    return False
                self._activate_when_staged = None
            chosen = self._held.find(digest)
            if chosen is None:
                return False
            dropped = self._held.flip(chosen)
        self._ready.set()
        self._standing.serves(digest)
        chosen.seconds["activate"] = time.perf_counter() - started
        self._client.send(Active(chosen.bound.version, digest, chosen.seconds))
        if self._on_change is not None:
            self._on_change(chosen.bound)
        for resident in dropped:
            self._retire(resident)
        self._courtesy.give_way()  # a line of log costs more than a flip
        log.info(
            "serving", model=self.model, version=chosen.bound.version, checkpoint=digest, **_rounded(chosen.seconds)
        )
        return True

    def _retire_staged(self, digest: str) -> None:
        with self._lock:
            if self._wanted and self._wanted.digest == digest:
                self._wanted = None
            if self._activate_when_staged and self._activate_when_staged.digest == digest:
                self._activate_when_staged = None
            staged = self._held.staged
            if staged is None or staged.bound.checkpoint != digest:
                return
            self._held.staged = None
        self._retire(staged)

    def _retire(self, resident: Resident | None) -> None:
        if resident is None:
            return
        with self._lock:
            resident.retired = True
            self._bury(resident)

    def _bury(self, resident: Resident) -> None:
        """Leave a version that nobody uses to the staging thread: unmapping much memory takes milliseconds."""
        if resident.retired and resident.leases == 0:
            self._dead.append(resident)
            self._wake.notify_all()

    def _let_go(self, resident: Resident) -> None:
        self._courtesy.begin()
        if resident.mapped is not None:
            thin(resident.mapped, self._courtesy.give_way)
        self._shadows.take_back(resident.bound.network)
        resident.mapped = None  # the last that holds the slot
        self._client.send(Released(resident.bound.checkpoint))

    # Staging, in its own thread.

    def _stage_for_ever(self) -> None:
        wake_as_usual()
        while True:
            with self._lock:
                while not (self._wanted or self._to_keep or self._dead or self._stopping):
                    self._wake.wait()
                if self._stopping:
                    break
                dead, self._dead = self._dead, []
                order, self._wanted = self._wanted, None
                self._staging = order.digest if order else ""
                keep = self._to_keep.pop(0) if self._to_keep and order is None else None
            while dead:
                self._let_go(dead.pop())
            if order is not None:
                self._stage(order)
            elif keep is not None:
                self._keep(keep)
        self._slots.close()

    def _stage(self, order: Stage) -> None:
        try:
            resident = self._found(order.digest) or self._make(order)
        except Exception as error:  # noqa: BLE001 - a version that cannot be made, for whatever reason, must not end the worker
            log.warning("version refused", model=self.model, version=order.version, error=str(error))
            with self._lock:
                self._staging = ""
                if self._activate_when_staged and self._activate_when_staged.digest == order.digest:
                    self._activate_when_staged = None
            self._client.send(Failed(order.version, order.digest, clean(f"{type(error).__name__}: {error}")))
            return
        with self._lock:
            superseded = None
            if self._held.find(order.digest) is None:
                superseded, self._held.staged = self._held.staged, resident
            self._staging = ""
        self._retire(superseded)
        self._client.send(Staged(order.version, order.digest, resident.seconds))
        self._flip(order.digest, time.perf_counter(), only_if_ordered=True)

    def _found(self, digest: str) -> Resident | None:
        with self._lock:
            return self._held.find(digest)

    def _keep(self, order: Keep) -> None:
        """Make a version that served before this process did ready to be named; that it cannot be is no failure."""
        error = ""
        if self._found(order.digest) is None:
            try:
                resident = self._make(Stage(order.version, order.digest, order.manifest, order.path))
            except Exception as reason:  # noqa: BLE001 - as for a version that is staged
                error = clean(f"{type(reason).__name__}: {reason}")
                log.info("version not kept", model=self.model, version=order.version, error=error)
            else:
                with self._lock:
                    dropped = self._held.add(resident)
                for one in dropped:
                    self._retire(one)
        self._client.send(Kept(order.version, order.digest, error))

    def _make(self, order: Stage) -> Resident:
        started = time.perf_counter()
        self._courtesy.begin()
        manifest = Manifest.decode(order.manifest)
        self._courtesy.give_way()
        mapped = map_slot(Path(order.path), manifest, order.digest)
        seconds = {"map": time.perf_counter() - started}
        with self._device.aside(), self._slots.tensors(Path(order.path), mapped, manifest, order.digest) as tensors:
            network = self._shadows.make(manifest, tensors, seconds)
        seconds["stage"] = time.perf_counter() - started
        return Resident(Bound(manifest.version, order.digest, manifest, network), mapped, seconds)


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {f"{name}_ms": round(value * 1000, 2) for name, value in seconds.items()}
