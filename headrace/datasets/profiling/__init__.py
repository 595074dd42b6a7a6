"""Describing a version: types, missing values, distributions, and how it differs from another."""
