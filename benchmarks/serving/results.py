"""What was measured, and the ratios of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from benchmarks.serving.cell import Figures

Key = tuple[str, int, int]
"""Transport (grpc, json, binary), in flight, batch."""
Swaps = Sequence[tuple[Figures, Figures]]
"""Of each round: without and with swaps."""


@dataclass
class Results:
    """Everything that one invocation measured."""

    cores: str
    workers: int
    cells: dict[Key, dict[str, list[Figures]]] = field(default_factory=dict)
    """By contestant, a round each."""
    half_load: dict[str, list[Figures]] = field(default_factory=dict)
    swaps: Swaps = ()
    versions: int = 0
    """Seen in answers while versions were swapped."""
    disqualified: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, key: Key, name: str, found: Figures) -> None:
        """Keep a round's figures."""
        self.cells.setdefault(key, {}).setdefault(name, []).append(found)

    def ratios(self) -> dict[str, float]:
        """Ours by theirs; a ratio whose two sides were not measured is left out."""
        made = {
            **{f"triton_grpc_{n}": self._ratio(("grpc", n, 1), "triton") for n in (16, 64)},
            "triton_rest_16": self._ratio(("json", 16, 1), "triton"),
            **{f"triton_one_tensor_grpc_{n}": self._ratio(("grpc", n, 1), "triton_one_tensor") for n in (16, 64)},
            "triton_one_tensor_rest_16": self._ratio(("json", 16, 1), "triton_one_tensor"),
            "mlserver": _least(self._ratio((form, 16, 1), "mlserver") for form in ("grpc", "json")),
            "fastapi": _least(self._ratio(("json", 16, 1), name) for name in ("fastapi", "fastapi_workers")),
            "grpc_aio_echo": self._ratio(("grpc", 16, 1), "grpc_aio_echo"),
            "uvicorn_echo": self._ratio(("json", 16, 1), "uvicorn_echo"),
            "p99_half_load_over_triton": self._half_load(),
            "p99_swap_over_steady": _median([with_.p99 / without.p99 for without, with_ in self.swaps]),
        }
        return {name: round(value, 3) for name, value in made.items() if value is not None}

    def others(self) -> float:
        """The median cell's share of the servers' cores that other processes took."""
        return _median([run.others for cell in self.cells.values() for runs in cell.values() for run in runs]) or 0.0

    def cpu_ratios(self) -> dict[str, float]:
        """Their processor time for a request by ours: above 1, ours takes less. A busy machine moves it little."""
        made = {}
        for (form, n, batch), cell in self.cells.items():
            for name, runs in cell.items():
                if name != "ours" and "ours" in cell:
                    pairs = zip(cell["ours"], runs, strict=False)
                    ratio = statistics.median(theirs.cpu_us / ours.cpu_us for ours, theirs in pairs if ours.cpu_us)
                    made[f"{name}_{form}_{n}_batch_{batch}"] = round(ratio, 3)
        return made

    def _ratio(self, key: Key, name: str) -> float | None:
        cell = self.cells.get(key, {})
        rounds = zip(cell.get("ours", []), cell.get(name, []), strict=False)
        return _median([ours.requests_per_s / theirs.requests_per_s for ours, theirs in rounds])

    def _half_load(self) -> float | None:
        rounds = zip(self.half_load.get("ours", []), self.half_load.get("triton", []), strict=False)
        return _median([ours.p99 / theirs.p99 for ours, theirs in rounds])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        cells = {
            f"{form} {n} in flight, batch {batch}": {name: median(runs).as_dict() for name, runs in cell.items()}
            for (form, n, batch), cell in self.cells.items()
        }
        return {
            "figures": {
                "cores": self.cores,
                "workers": self.workers,
                "others": round(self.others(), 3),
                "cells": cells,
                "half_load": {name: median(runs).as_dict() for name, runs in self.half_load.items()},
                "cpu_ratios": self.cpu_ratios(),
                "swaps": [{"steady": a.as_dict(), "swaps": b.as_dict()} for a, b in self.swaps],
                "versions_seen": self.versions,
                "disqualified": self.disqualified,
                "absent": self.absent,
            },
            "ratios": self.ratios(),
        }


def median(runs: Sequence[Figures]) -> Figures:
    """Of each figure on its own."""
    return Figures(*(statistics.median(getattr(run, one.name) for run in runs) for one in fields(Figures)))


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _least(values: Any) -> float | None:
    return min((value for value in values if value is not None), default=None)
