"""Faust on Kafka, a chunk of records at a time, exactly once.

    chunk_app(...)         a Faust app whose streams are of chunks, on confluent-kafka
    Chunk                  consecutive records of one partition, in columns
    ChunkPipeline          chunks to output, the next one worked out while the last one commits
    TransactionalSink      output and offsets in one Kafka transaction; AcknowledgedSink for at least once
    InstanceSlot, transactional_id the identity that a process keeps over its restarts
    replay                 dead letters back on the topic that they came from, each once
    bisect, Breaker        bad records: found one by one, or too many

Importing this package imports neither Faust nor a Kafka client: import what you need from its modules.
"""
