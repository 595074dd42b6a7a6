"""The role `rpc`: answers single requests over gRPC and REST."""
