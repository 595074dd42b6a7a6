"""Data sets: bounded, immutable, versioned tables, kept as Parquet with a manifest, and announced on headrace.datasets.

`names` and `manifest` say what a version is, `storing` where it is kept, `writing` how it comes to be, `reading` from
what, `importing` is the job that does it. `profiling` describes a version, `using` gives it to training, batch jobs,
checks and replay. `catalogue.Catalogue` is what most callers need: it resolves `name@version`, lists, and removes.
"""
