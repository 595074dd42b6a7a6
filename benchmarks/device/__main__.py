"""Check a GPU, in some minutes: predictions, copies, swaps under requests, training.

Without a GPU it says so and does all of it with the processor, told to copy as for one. Tables, and a JSON file.
"""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.device.copies import copies
from benchmarks.device.equality import equality
from benchmarks.device.scale import Scale, choose, described
from benchmarks.device.swaps import swaps
from benchmarks.device.training import training
from benchmarks.weights.report import Part, write
from headrace.model.exact_rows import choose_fixed_kernels
from headrace.runtime import logging
from headrace.runtime.devices.port import Device

OUT = Path("build/bench/device.json")
PARTS: dict[str, Callable[[Device, Scale], Part]] = {
    "equality": lambda device, _: equality(device),
    "copies": copies,
    "swaps": swaps,
    "training": training,
}


def check(device: Device, scale: Scale, console: Console, out: Path, names: list[str]) -> int:
    """Do these parts and write what they found; 1 if one failed, which keeps no other from being done."""
    console.print(f"[bold]{device.name}[/]: {described(device)}")
    parts: dict[str, Part] = {}
    failed = 0
    for name in names:
        try:
            parts[name] = PARTS[name](device, scale)
        except Exception:  # noqa: BLE001 - a machine with a GPU is seldom at hand: the other parts are worth having
            failed = 1
            parts[name] = Part(figures={f"error_{name}": traceback.format_exc()})
            console.print(f"[red]{name} failed[/]\n{parts[name].figures[f'error_{name}']}", markup=True)
        for table in parts[name].tables:
            console.print(table)
    parts["machine"] = Part(figures={"device": device.name, "machine": described(device)})
    write(out, parts, keep=False)
    return failed


def main() -> int:
    """Check; the exit code is 0 whatever the figures are, and 1 where a part raised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="cuda, cuda:N, cpu, or auto: the first GPU there is")
    parser.add_argument("--only", action="append", choices=[*PARTS], help="parts to do")
    options = parser.parse_args()
    logging.configure("warning")
    choose_fixed_kernels()
    torch.set_num_threads(1)
    device, scale = choose(options.device)
    return check(device, scale, Console(highlight=False, width=120), OUT, options.only or list(PARTS))


if __name__ == "__main__":
    sys.exit(main())
