"""Predicting on a stream: Headrace beside a bare loop and its peers, on one broker, in turn.

    make bench-stream [FULL=1]      tables on the terminal, figures in build/bench/stream.json

Every contestant is a process of its own that reads the same events, predicts with the same MLP and writes the same
records. What it has done is measured from outside, by the offsets that it commits, and its output is counted.
docs/benchmarks.md says what each figure means.
"""
