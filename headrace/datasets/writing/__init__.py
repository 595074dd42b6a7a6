"""From record batches to Parquet files, and from files to a version."""
