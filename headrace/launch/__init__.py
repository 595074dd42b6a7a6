"""A whole run on one host: the platform, every role as a process, and their supervision."""
