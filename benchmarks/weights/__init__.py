"""New weights in every worker: how fast, and what requests notice of it; everything in one run, on one machine.

    python -m benchmarks.weights [--full]      tables on the terminal, figures in build/bench/weights.json

Three measurements on a Kafka and a Redis of their own:

- `transfer`: the agent's pull, verified, into a recycled slot, beside a raw read of the same chunks into touched shared
memory;
- `rollout`: a coordinator, an agent and two workers as processes; checkpoints are announced while the workers answer a
  steady stream of requests and check every answer against the version that gave it;
- `peers`: fleets of 1 to 8 agents and a store with a bandwidth, every agent pulling for itself, and agents that share.
"""
