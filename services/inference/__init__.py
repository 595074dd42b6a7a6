"""Inference: predictions on the stream (role `stream`) and on request (role `rpc`), from the same live weights."""
