"""Where chunks are kept: Redis, shared storage, an object store, behind one port."""
