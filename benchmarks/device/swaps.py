"""Requests while versions are swapped in all the time, beside the same without a swap."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.device.scale import MIB, Scale
from benchmarks.device.slots import SLOTS, OneWorkerAgent, Served, slots
from benchmarks.weights.report import Part, table
from headrace.model.exact_rows import forward
from headrace.runtime.devices.port import Device
from headrace.weights import LiveWeights, Manifest


class _Requests(threading.Thread):
    """One request after the other, of the live version; counts those whose answer is not its version's."""

    def __init__(self, live: LiveWeights, rows: int) -> None:
        super().__init__(name="requests", daemon=True)
        self._live, self._features = live, torch.randn(rows, 7)
        self._done = threading.Event()
        self.failed = 0
        self.seconds: list[float] = []

    def run(self) -> None:
        """Until `finish`."""
        torch.set_num_threads(1)
        while not self._done.is_set():
            started = time.perf_counter()
            try:
                with torch.inference_mode(), self._live.lease() as bound:
                    outputs, version = forward(bound.network, self._features), bound.version
            except Exception:  # noqa: BLE001 - what fails is what is counted
                self.failed += 1
                continue
            self.seconds.append(time.perf_counter() - started)
            self.failed += bool((outputs != float(version)).any())

    def finish(self) -> None:
        """Stop, and wait for it."""
        self._done.set()
        self.join()


def swaps(device: Device, scale: Scale) -> Part:
    """p50 and p99 of requests, steady and while versions are copied, and how long a version takes to be live."""
    with slots("device-swaps") as pool:
        versions = [pool.put(Served(scale.weights, version), version) for version in range(1, SLOTS + 1)]
        with _live(device, scale) as (live, agent):
            agent.roll_out(*versions[0])
            _requests(live, scale.rows, lambda: time.sleep(0.5))
            steady = _requests(live, scale.rows, lambda: time.sleep(scale.seconds))
            staged: list[dict[str, float]] = []
            swapping = _requests(live, scale.rows, lambda: _swap(agent, versions, scale.seconds, staged))
    shown = table(
        f"Requests of {scale.rows} rows on {device.name}, versions of {scale.weights // MIB} MiB",
        "", "requests", "p50 ms", "p99 ms",
    )  # fmt: skip
    return _told(Part(tables=[shown]), {"steady": steady, "swapping": swapping}, staged)


@contextmanager
def _live(device: Device, scale: Scale) -> Iterator[tuple[LiveWeights, OneWorkerAgent]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.sock"
        agent = OneWorkerAgent(path)
        features = torch.randn(scale.rows, 7)
        live = LiveWeights(
            path, "device", lambda: Served(scale.weights), worker="check", role="check", device=device,
            warm_up=lambda network: forward(network, features),
        )  # fmt: skip
        live.start()
        try:
            agent.greet()
            yield live, agent
        finally:
            agent.close()
            live.stop()


def _requests(live: LiveWeights, rows: int, meanwhile: Callable[[], object]) -> _Requests:
    thread = _Requests(live, rows)
    thread.start()
    try:
        meanwhile()
    finally:
        thread.finish()
    return thread


def _swap(
    agent: OneWorkerAgent, versions: list[tuple[Path, Manifest]], seconds: float, staged: list[dict[str, float]]
) -> None:
    """One version after the other; the first one was let go of by the time that its turn comes again."""
    until = time.perf_counter() + seconds
    for version in cycle([*versions[1:], versions[0]]):
        if time.perf_counter() > until:
            return
        staged.append(agent.roll_out(*version))


def _told(part: Part, requests: dict[str, _Requests], staged: list[dict[str, float]]) -> Part:
    (shown,) = part.tables
    for name, of in requests.items():
        p50, p99 = (float(np.percentile(of.seconds, q)) * 1e3 for q in (50, 99))
        part.figures[f"p50_ms_{name}"], part.figures[f"p99_ms_{name}"] = round(p50, 4), round(p99, 4)
        shown.add_row(name, f"{len(of.seconds):,}", f"{p50:.3f}", f"{p99:.3f}")
    failed, live = sum(of.failed for of in requests.values()), median(one["stage"] + one["activate"] for one in staged)
    part.figures |= {
        "swaps": len(staged), "failed_requests": failed, "version_live_s": round(live, 4),
        "version_copied_s": round(median(one["load"] for one in staged), 4),
    }  # fmt: skip
    part.ratios["p99_swap_over_steady"] = part.figures["p99_ms_swapping"] / part.figures["p99_ms_steady"]
    shown.caption = f"{len(staged)} swaps, {failed} requests failed or torn, {live * 1e3:.1f} ms from STAGE to live"
    return part
