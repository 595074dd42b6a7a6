"""Training on demand: epochs over a bounded set of examples, a report, and the hand-over to the live trainer."""
