"""Models from a repository in Triton's layout: what reads it, and what computes its answers."""
