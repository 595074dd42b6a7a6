"""The plug-in port: what a pipeline's author writes, loading it, and checking it.

`port` has `Model` and `Baseline`, `source` has `Source` and `Timed`, `spec` the schema of pipeline.yaml, `pipeline` the
loader, `checks` what `headrace check` does, `values` which numbers a record may hold.
"""
