"""How fast a slot's bytes get to the device: pinned or not, and in pieces of several sizes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from benchmarks.device.scale import MIB, Scale
from benchmarks.device.slots import slots
from benchmarks.weights.report import Part, table
from headrace.runtime.devices.port import Device
from headrace.weights.format.manifest import Manifest
from headrace.weights.worker.copied import PIECE_BYTES, pieces
from headrace.weights.worker.mapping import map_slot, tensors_of
from headrace.weights.worker.pinned_slots import PinnedSlots

_TIMES = 3


class _Weights(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.whole = nn.Parameter(torch.ones(size // 4))


def copies(device: Device, scale: Scale) -> Part:
    """GB/s, the best of three, of copies that are waited for piece by piece."""
    part = Part(tables=[shown := table(f"A slot of {scale.copied // MIB} MiB to {device.name}", "", "piece", "GB/s")])
    into = torch.empty(scale.copied // 4, device=device.torch_device)
    with slots("device-copies") as pool:
        path, manifest = pool.put(_Weights(scale.copied), 1)
        for kind in ("pageable", "pinned"):
            with _source(kind, device, path, manifest, part) as source:
                for name, size in (("4 MiB", 4 * MIB), ("64 MiB", PIECE_BYTES), ("whole", scale.copied)):
                    rate = scale.copied / min(_seconds(device, into, source, size) for _ in range(_TIMES)) / 1e9
                    part.figures[f"gb_per_s_{kind}_{name.replace(' ', '').lower()}"] = round(rate, 2)
                    shown.add_row(kind, name, f"{rate:.1f}")
    part.figures["copied_right"] = bool((into == 1).all())
    part.ratios["pinned_over_pageable"] = (
        part.figures["gb_per_s_pinned_64mib"] / part.figures["gb_per_s_pageable_64mib"]
    )
    return part


@contextmanager
def _source(kind: str, device: Device, path: Path, manifest: Manifest, part: Part) -> Iterator[torch.Tensor]:
    """The slot's one tensor, as a worker that pins has it, or as one that cannot."""
    mapped = map_slot(path, manifest, manifest.digest)
    if kind == "pageable":
        yield tensors_of(mapped, manifest)["whole"]
        return
    pinned, started = PinnedSlots(device), time.perf_counter()
    with pinned.tensors(path, mapped, manifest, manifest.digest) as tensors:
        part.figures["pinning_s_per_gib"] = round((time.perf_counter() - started) * (1 << 30) / manifest.size, 3)
        part.figures["pinned"] = device.torch_device.type != "cuda" or tensors["whole"].is_pinned()
        yield tensors["whole"]
    pinned.close()


def _seconds(device: Device, into: torch.Tensor, of: torch.Tensor, size: int) -> float:
    with device.aside():
        device.synchronize()
        started = time.perf_counter()
        for piece in pieces([(into, of)], size):
            device.copy(piece.into, piece.of)
            device.synchronize()
        return time.perf_counter() - started
