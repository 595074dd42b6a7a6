"""Faust's transport on confluent-kafka, a chunk of records at a time.

driver      what Faust asks for consumers and producers
consumer    Faust's side of the consumer, on the event loop
producer    Faust's side of the producer
poller      the thread that owns the Kafka consumer; `commands` is work for it, `positions` are offsets asked of it
"""
