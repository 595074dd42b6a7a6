"""The check of a GPU, on the processor that copies as for one."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmarks.device.__main__ import PARTS, check
from benchmarks.device.scale import MIB, Scale, choose
from headrace.runtime.devices.host import Host

SMALL = Scale(copied=MIB, weights=MIB // 4, seconds=0.3, steps=8, width=8, compiled=False)


class NoCopies(Host):
    def copy(self, into, of):
        raise RuntimeError("no copies today")


@pytest.fixture
def console(tmp_path):
    with (tmp_path / "shown").open("w") as file:
        yield Console(file=file, width=120)


def test_all_parts_are_done_without_a_gpu_and_say_what_they_found(tmp_path: Path, console: Console) -> None:
    out = tmp_path / "device.json"
    assert check(Host(in_place=False), SMALL, console, out, [*PARTS]) == 0
    found = json.loads(out.read_text())
    figures = found["figures"]
    assert "no GPU" in figures["machine"]
    assert figures["predictions_within_tolerance"]
    assert figures["copied_right"]
    assert figures["swaps"] > 0
    assert figures["failed_requests"] == 0
    assert figures["checkpoint_on_host"]
    assert figures["resumed_difference"] == 0.0
    assert found["ratios"].keys() == {"pinned_over_pageable", "p99_swap_over_steady", "step_cpu_over_device"}


def test_a_part_that_raises_is_told_and_keeps_no_other_from_being_done(tmp_path: Path, console: Console) -> None:
    out = tmp_path / "device.json"
    assert check(NoCopies(in_place=False), SMALL, console, out, ["copies", "training"]) == 1
    figures = json.loads(out.read_text())["figures"]
    assert "no copies today" in figures["error_copies"]
    assert figures["step_ms_device"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_processor_is_told_to_copy() -> None:
    device, scale = choose("auto")
    assert not device.in_place
    assert scale.copied < 1024 * MIB
