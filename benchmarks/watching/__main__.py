"""Run the parts of the benchmark, each in its own file, and write build/bench/watching.json.

A part is a module here with `measure(*, full: bool) -> dict[str, Any]`: its figures, and `reached`, whether they reach
its goals. `--part drift` runs one; the figures of the others stay in the file.
"""

import argparse
import importlib.util
import json
import os
import platform
from pathlib import Path

from rich.console import Console

OUT = Path("build/bench/watching.json")
PARTS = ("profile", "drift", "keep_up", "queries")
"""In this order. One whose module is not there is skipped, and named."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="benchmarks.watching", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the long form")
    parser.add_argument("--part", action="append", choices=PARTS, help="repeatable; default all")
    given = parser.parse_args()
    found = json.loads(OUT.read_text()) if given.part and OUT.exists() else {}
    found["machine"] = {"cores": len(os.sched_getaffinity(0)), "machine": platform.machine()}
    console = Console(highlight=False)
    for part in given.part or PARTS:
        name = f"benchmarks.watching.{part}"
        if importlib.util.find_spec(name) is None:
            console.print(f"{part}: not there")
            continue
        found[part] = importlib.import_module(name).measure(full=given.full)
        console.print(part, style="bold")
        console.print_json(json.dumps(found[part]))
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(found, indent=2) + "\n")
    console.print(f"written to {OUT}")


if __name__ == "__main__":
    main()
