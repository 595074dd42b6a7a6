"""The role `labelling`: queues of what people are to label, their work on them, and labels on the pipeline's topic."""
