"""The REST edge of the role `rpc`."""
