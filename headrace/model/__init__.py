"""The plug-in port: what a pipeline's author writes, and loading it.

`port` has `Model` and `Baseline`, `source` has `Source` and `Timed`, `spec` the schema of pipeline.yaml, `pipeline` the
loader.
"""
