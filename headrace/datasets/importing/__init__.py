"""Imports: jobs that make a version of what is asked for, and can be gone on with after they died."""
