"""The archive: a pipeline's records and metrics as Parquet segments on shared storage, and queries over them.

A segment holds the records of one topic partition between two offsets, which are in its name. Whoever writes goes on
where the newest segment ends; whoever reads lists the folder and needs nobody's permission. docs/design/archive.md says
why, and in which order things become durable.
"""
