"""Segments: files of the records of one topic partition between two offsets."""
