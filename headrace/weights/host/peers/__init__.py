"""Chunks from other agents, so that the store's bandwidth is not the fleet's ceiling.

- `wire`      the protocol between two agents, as bytes;
- `chunk_leases` what this host's slots hold and may be served, leased while it is sent;
- `server`    serves it;
- `client`    one connection to another agent;
- `routes`    from whom to take a chunk, by the coordinator's plan;
- `exchange`  fills a slot from peers and the store at the same time.

Nothing here decides whether a version can be had: what an exchange leaves out, whatever the reason, is pulled from the
store (`headrace.weights.host.transfer.pull`).
"""
