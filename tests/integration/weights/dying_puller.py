"""An agent's slots in a process that kills itself: `python dying_puller.py ROOT REDIS_URL STORAGE STEPS MANIFEST...`.

It pulls versions one after another, the one before being kept, and sends itself SIGKILL when it is asked for the
STEPS-th time whether the last of them is still wanted, which it is at every step.
"""

import os
import signal
import sys
from pathlib import Path

from headrace.weights import FallbackStore, Manifest
from headrace.weights.stores.redis import RedisChunkStore
from headrace.weights.stores.shared_storage import SharedStorageChunkStore
from services.ckpt.agent.pulling.slots import HostSlots


def main(root: str, redis_url: str, storage: str, steps: str, *manifests: str) -> None:
    store = FallbackStore(RedisChunkStore(redis_url), SharedStorageChunkStore(Path(storage)))
    slots = HostSlots(store, "dying", limit=3, parallel=1, root=Path(root))
    *before, last = (Manifest.decode(Path(path).read_bytes()) for path in manifests)
    for manifest in before:
        slots.fill(manifest, {one.digest for one in before}, lambda: False)
    left = iter(range(int(steps)))

    def killed() -> bool:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    slots.fill(last, {one.digest for one in before}, killed)
    print("whole", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
