"""`python -m benchmarks.serving.load PLAN OUTCOME`: one process of the load."""

import asyncio
import gc
import sys
from pathlib import Path

import msgspec
import uvloop

from benchmarks.serving.load.drive import Drive
from benchmarks.serving.load.plan import Plan


def main(plan: str, outcome: str) -> None:
    """Follow the plan in the file `plan`, and write to the file `outcome`."""
    told = msgspec.msgpack.decode(Path(plan).read_bytes(), type=Plan)
    if told.form == "grpc":
        import headrace.contracts.oip.service_pb2  # noqa: F401 - before the plan's time begins
    gc.freeze()
    gc.disable()  # answers make no cycles, and a collection would be a latency of ours

    async def drive() -> bytes:
        driven = Drive(told)
        await driven.connect()
        print("ready", flush=True)
        begin = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        return msgspec.msgpack.encode(await driven.run(float(begin)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Path(outcome).write_bytes(runner.run(drive()))


if __name__ == "__main__":
    main(*sys.argv[1:])
