"""ingest's gRPC behind `headrace.grpcserver` and behind grpc.aio: the same servicer and client, in turn.

    make bench-ingest

Both check every record against its schema. The log takes records into memory and acknowledges at once, so that what
differs is the transport. Figures: events/s, and the server's processor time for an event.
"""
