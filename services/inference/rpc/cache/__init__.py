"""Answers to requests seen before."""
