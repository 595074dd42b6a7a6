"""The role `monitor`: accuracy beside the baselines, duplicates and gaps on the sink, lag, freshness, alerts."""
