"""Passing requests on, unchanged, to the roles that own their paths."""
