"""The role `archive`: keeps the records of the pipeline and its metrics in segments, and answers queries."""
