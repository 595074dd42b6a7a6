"""What the join of one partition holds of each log: the keys it has seen, and the records that are open.

Both are kept in buckets of time, so that what can no longer matter is dropped a bucket at a time. `bytes_held` counts
what an entry costs in CPython, measured (see benchmarks/join), plus the length of its value. What does not fit into
memory goes to segments on disk.
"""
