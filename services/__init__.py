"""The processes. They meet in topics, in the chunk store and on wire protocols; none imports another."""
