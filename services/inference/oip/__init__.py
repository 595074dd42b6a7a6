"""The Open Inference Protocol v2 as both transports of `rpc` speak it: requests, answers, tensors, descriptions."""
