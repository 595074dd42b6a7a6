"""Producing records to a pipeline's topics from sources and files: reading, pacing, and going on after an interruption."""
