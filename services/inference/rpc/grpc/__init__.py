"""The gRPC edge of the role `rpc`."""
