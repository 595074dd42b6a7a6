"""How many pairs a second the join makes, from Kafka to Kafka and in memory alone, and what its state takes.

`python -m benchmarks.join`; see `--help`.
"""
