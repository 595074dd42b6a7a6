"""The metrics store: time series in segments, folded into coarser ones with age."""
