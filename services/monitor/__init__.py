"""Watching a pipeline: accuracy beside the baselines, duplicates and gaps on the sink, freshness, alerts."""
