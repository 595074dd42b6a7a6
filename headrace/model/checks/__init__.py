"""Checking a pipeline on a little of its own data, without Kafka: what `headrace check` does.

`run` has the list of checks and runs them; `records`, `network` and `training` have the checks; `pipeline_check` has
what they share.
"""
