"""Where data sets are kept: a folder of shared storage, or an object store."""
