"""Several chunks at a time."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

PARALLEL = max(2, min(4, os.cpu_count() or 1))
"""Chunks in flight: one is read while another is checked; more threads than cores only wait for each other."""


def in_parallel(work: Sequence[Callable[[], None]], parallel: int = PARALLEL) -> None:
    """Run everything, ``parallel`` at a time; raise the first error after all that was begun has ended."""
    if len(work) <= 1 or parallel <= 1:
        for task in work:
            task()
        return
    with ThreadPoolExecutor(min(parallel, len(work)), thread_name_prefix="chunks") as pool:
        futures = [pool.submit(task) for task in work]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
