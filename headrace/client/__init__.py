"""Asking a running fleet from scripts and commands, without knowing its code."""
