"""A plain PyTorch process that follows the weights of a running Headrace, and prints an answer of every version.

headrace new heat && headrace up heat --replay --run-dir /tmp/heat       # in one terminal
python examples/weights_client.py --agent /tmp/heat                      # in another: beside the host's agent
python examples/weights_client.py --kafka HOST:PORT --storage /tmp/heat/storage          # or from anywhere, without one
"""

import argparse
import queue

import torch
from torch import nn

from headrace.weights import subscribe


def network() -> nn.Module:
    """The network of `headrace new`'s model.py: the same tensors, or the subscription is refused."""
    return nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0))


def main() -> None:
    """Answer with every version that begins to serve, until `--versions` have."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--model", default="heat", help="the pipeline's name")
    flags.add_argument("--agent", help="the run's folder, or its agent's socket")
    flags.add_argument("--kafka", default="", help="brokers, where there is no agent")
    flags.add_argument("--storage", default="", help="folder or URL of the chunks, where there is no agent")
    flags.add_argument("--redis", default="", help="the Redis in front of the storage, if there is one")
    flags.add_argument("--versions", type=int, default=5, help="stop after this many")
    given = flags.parse_args()

    changed: queue.SimpleQueue[int] = queue.SimpleQueue()
    reading = torch.tensor([[0.25, 0.0, 0.5, 0.0]])
    with subscribe(
        given.model, network, agent=given.agent, kafka=given.kafka, storage=given.storage, redis=given.redis,
        warm_up=lambda fresh: fresh(reading), on_change=lambda bound: changed.put(bound.version),
    ) as weights:  # fmt: skip
        for _ in range(given.versions):
            changed.get()
            with weights.lease() as bound, torch.inference_mode():
                answer = bound.network(reading).item()
            print(f"version {bound.version} checkpoint {bound.checkpoint} answers {answer:.6f}", flush=True)


if __name__ == "__main__":
    main()
