"""Training on demand: what a job of it is, and what it reports."""
