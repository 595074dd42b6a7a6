"""One model learned by several processes, the ranks, in step with each other."""
