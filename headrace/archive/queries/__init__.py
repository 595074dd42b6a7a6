"""SQL over an archive, read-only and confined to it."""
