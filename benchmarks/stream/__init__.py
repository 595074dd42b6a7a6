"""Predicting on a stream: Headrace beside a bare loop, on one broker, one after the other.

    python -m benchmarks.stream [--full]      table on the terminal, figures in build/bench/stream.json

Every contestant is a process of its own that reads a backlog of the same events, predicts with the same MLP and writes the same
records, exactly once. What it has done is measured from outside, by the offsets that it commits.
"""
