"""Run the benchmark, and write tables and build/bench/secure.json."""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.secure import rpc, stream

OUT = Path("build/bench/secure.json")


def main() -> int:
    """Measure and report; the exit code is 1 if a request failed while certificates changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="longer: 1 M records, five rounds, 8 s a round")
    parser.add_argument("--only", choices=("stream", "rpc"), help="one part")
    options = parser.parse_args()
    console = Console(highlight=False, width=110)
    rounds, records, seconds = (5, 1_000_000, 8.0) if options.full else (3, 300_000, 4.0)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    results: dict[str, object] = {"load_before": os.getloadavg()[0]}
    table = Table("", "open", "secured", "ratio", box=None)
    failed = 0
    if options.only != "rpc":
        plain, secured = stream.measure(records, rounds, console.print)
        results["stream"] = {"plain": plain.rates, "tls_sasl_acls": secured.rates, "ratio": secured.rate / plain.rate}
        results["stream_cpu_s"] = {"plain": plain.cpu_s, "tls_sasl_acls": secured.cpu_s}
        table.add_row(
            "stream, events/s: TLS, SCRAM, ACLs", f"{plain.rate:,.0f}", f"{secured.rate:,.0f}",
            f"{secured.rate / plain.rate:.2f}",
        )  # fmt: skip
        table.add_row(
            "its processor time for a million events, s", f"{plain.cpu:.1f}", f"{secured.cpu:.1f}",
            f"{plain.cpu / secured.cpu:.2f}",
        )  # fmt: skip
    if options.only != "stream":
        found = rpc.measure(seconds, rounds, console.print)
        one, other = statistics.median(found.plain), statistics.median(found.with_keys)
        swapped, failed = found.swapped, found.swapped.failed
        results["rpc"] = {"open": found.plain, "keys": found.with_keys, "ratio": other / one}
        results["certificates"] = {
            "answered": swapped.answered, "failed": failed, "first_failure": swapped.first_failure,
            "served": len(swapped.certificates),
        }  # fmt: skip
        table.add_row("rpc, REST requests/s, 16 in flight: keys", f"{one:,.0f}", f"{other:,.0f}", f"{other / one:.2f}")
    console.print(table)
    if options.only != "stream":
        console.print(
            f"certificates: {len(swapped.certificates)} served in turn, {swapped.answered:,} requests over new "
            f"connections answered, {failed} failed {swapped.first_failure}"
        )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(results, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
