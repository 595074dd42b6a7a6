"""Producing records to a pipeline's topics from sources and files.

Reading, pacing, and going on after an interruption.
"""
