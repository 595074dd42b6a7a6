"""Batch inference: files of events to files of predictions, by one version of the weights, resumable after SIGKILL.

`run.run_batch` is the whole job. `reading` turns files into batches of checked events, `predicting` into predictions,
`writing` into parts and, at the end, the output; `engines` decide which process does which part.
"""
