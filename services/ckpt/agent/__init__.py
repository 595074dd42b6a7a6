"""The role `agent`: brings weights to one host's shared memory and tells its workers which version to serve."""
