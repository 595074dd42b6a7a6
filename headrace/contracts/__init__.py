"""What services agree on: topics, system events (protobuf) and the records on the wire.

Imports nothing else of Headrace.
"""
